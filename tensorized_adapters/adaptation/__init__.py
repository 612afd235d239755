"""The life of an adapted model: add, remove, switch off, merge, names, parameters, counts."""
