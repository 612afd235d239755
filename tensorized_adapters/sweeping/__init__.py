"""What tensorized-adapters sweep is made of: the grid, the trials on Ray Tune, the ledger, the display."""

# In a sweep's folder.
LEDGER_FILE = "sweep.json"
TRIALS = "trials"
LOGS = "logs"
REPORT = "report"
