"""Our attention masks give the same logits as those of Transformers."""

import pytest
import torch
from helpers import tokens
from tiny_models import MODELS, TINY
from transformers import AutoModelForSequenceClassification

from tensorized_adapters.backbone.architectures import ARCHITECTURES
from tensorized_adapters.backbone.parts import with_ready_mask

ENCODERS = [name for name in MODELS if ARCHITECTURES[name].masks_padding_alone]


@pytest.mark.parametrize("is_decoder", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers_own_mask(name, is_decoder):
    kind, changes, _ = MODELS[name]
    torch.manual_seed(0)
    config = kind(**(TINY | changes), num_labels=3)
    config.is_decoder = is_decoder
    model = AutoModelForSequenceClassification.from_config(config).eval()
    mask = torch.ones_like(tokens())
    mask[1, 6:] = 0
    batch = {"input_ids": tokens(), "attention_mask": mask}
    ready = with_ready_mask(model, batch)
    assert (ready["attention_mask"].dim() == 4) == (name in ENCODERS and not is_decoder)
    with torch.no_grad():
        torch.testing.assert_close(model(**ready).logits, model(**batch).logits)
