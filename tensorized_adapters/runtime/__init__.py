"""Signals, exit codes, several processes, files and the terminal, for every program of this package."""
