"""Compressing a trained dense adapter into a tensorized one."""
