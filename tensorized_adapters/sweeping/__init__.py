"""Sweeps: the plan of a grid, its trials as Ray tasks, the states of the trials, and what is shown of them."""

# Names in a sweep's folder.
LEDGER_FILE = "sweep.json"
TRIALS = "trials"
LOGS = "logs"
REPORT = "report"
