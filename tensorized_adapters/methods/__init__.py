"""What is trained: one way or another to adapt a frozen model."""
