"""Modules h -> h + update(h), and where they go."""
