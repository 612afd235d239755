"""The adapter folder."""
