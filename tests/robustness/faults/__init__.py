"""What tests/robustness/fault_matrix.py is made of: the workshop with a tiny model, the kinds of faults, their verdicts."""
