"""Adapters inside other libraries."""
