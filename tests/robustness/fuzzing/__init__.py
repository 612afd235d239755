"""What tests/robustness/fuzz.py and tests/robustness/test_fuzz.py share: strategies of hostile input, and how a case is run and judged."""
