"""What a saved adapter is for: labels of new texts, from Python (pipeline.py) or from a stream of rows."""
