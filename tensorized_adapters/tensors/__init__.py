"""Factorised weights: formats, shapes, starts. No transformer in here."""
