"""The classifier's start."""

import math

import torch
from helpers import tiny_model

from tensorized_adapters.backbone.loading import set_label_prior_

HEAD = {"classifier.weight", "classifier.bias"}


def test_log_frequency_and_mean():
    model = tiny_model()
    model.config.problem_type = "single_label_classification"
    assert set_label_prior_(model, [0, 0, 0, 1], HEAD)
    assert torch.allclose(model.classifier.bias, torch.tensor([math.log(0.75), math.log(0.25)]))
    model = tiny_model(num_labels=1)
    model.config.problem_type = "regression"
    set_label_prior_(model, [1.0, 2.0, 4.5], HEAD)
    assert model.classifier.bias.item() == 2.5


def test_a_head_that_the_checkpoint_had_keeps_its_bias():
    model = tiny_model()
    model.config.problem_type = "single_label_classification"
    before = model.classifier.bias.clone()
    assert not set_label_prior_(model, [0, 0, 1], set())
    assert torch.equal(model.classifier.bias, before)
