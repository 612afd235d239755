"""Hugging Face's Trainer, its checkpoints and its live output."""
