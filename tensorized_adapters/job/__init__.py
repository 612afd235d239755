"""What run_glue_tensorized.py is made of."""
