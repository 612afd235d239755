"""The settings of the main job in a sweep."""

import pytest


@pytest.fixture
def job(flags):
    """Return the flags of the main job in a sweep."""
    names = "model_name_or_path train_file validation_file task_name num_train_epochs".split()
    return [word for name in names for word in (f"--{name}", str(flags[name]))]
