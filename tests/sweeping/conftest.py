"""What a sweep is given for the main job."""

import pytest


@pytest.fixture
def job(flags):
    """What a sweep is given for the main job."""
    names = "model_name_or_path train_file validation_file task_name num_train_epochs".split()
    return [word for name in names for word in (f"--{name}", str(flags[name]))]
