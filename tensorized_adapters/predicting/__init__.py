"""Predicts the labels of new texts with a saved adapter, from Python (pipeline.py) or for a stream of rows."""

FORMATS = ("jsonl", "csv", "tsv", "text")  # formats of the input
