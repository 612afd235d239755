"""The fault matrix: a workshop with a tiny model, the kinds of faults, and how each trial is judged."""
