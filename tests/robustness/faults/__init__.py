"""The fault matrix: its tiny model and data, the kinds of faults, and how each trial is judged."""
