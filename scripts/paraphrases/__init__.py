"""What scripts/make_paraphrases.py is made of: the vocabulary and frames, and the drawing of pairs."""
