"""What scripts/fuzz.py and tests/test_fuzz.py share: strategies of hostile input, and how a case is run and judged."""
