"""Hugging Face's Trainer, and what it keeps."""
