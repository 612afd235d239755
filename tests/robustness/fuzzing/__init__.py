"""The fuzzer: strategies of hostile input, and how a case is run and judged."""
