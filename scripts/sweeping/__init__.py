"""What scripts/sweep.py is made of: the grid, the trials on Ray Tune, the ledger, the display."""
