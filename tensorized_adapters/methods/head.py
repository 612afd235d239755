"""The head alone: a linear probe."""

from .base import Method


class Head(Method):
    """Trains nothing of the base model."""

    name = "head"
