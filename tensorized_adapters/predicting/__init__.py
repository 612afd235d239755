"""What a saved adapter is for: labels of new texts, from Python (pipeline.py) or from a stream of rows."""

FORMATS = ("jsonl", "csv", "tsv", "text")  # of the rows that are read
