"""Sweeps: the plan of a grid, its trials as Ray tasks, their states, and the display."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent  # with the main job's script and the packaged data
# Names in a sweep's folder.
LEDGER_FILE = "sweep.json"
TRIALS = "trials"
LOGS = "logs"
REPORT = "report"
