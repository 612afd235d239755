"""The pre-trained model: its architecture, loading it, and the models that PyPI packages carry."""
