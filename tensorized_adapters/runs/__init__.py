"""A run in its folder: its record, whether two runs are the same, evaluation, failures."""
