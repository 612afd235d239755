"""The nine GLUE tasks and other data: loading, labels, metrics."""
