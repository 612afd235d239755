"""Attach a dense adapter to the plain Transformers model of its base. Needs only torch, transformers and safetensors.

>>> model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
>>> attach(model, "folder").eval()
"""

import json
from pathlib import Path

from safetensors.torch import load_file
from torch import nn


class Bottleneck(nn.Module):
    def __init__(self, size: int, hidden: int):
        super().__init__()
        self.down, self.up = nn.Linear(hidden, size), nn.Linear(size, hidden)

    def forward(self, x):
        return self.up(self.down(x).relu())


class Square(nn.Linear):
    def forward(self, x):
        return super().forward(x).relu()


def attach(model: nn.Module, folder: str) -> nn.Module:
    """Replace each site's output by output + adapter(x). x is that output, or the input of the source module.

    The configuration gets the token to pad with. A decoder needs its padding on the right, and with this token.
    """
    tensors = load_file(Path(folder) / "dense_adapter.safetensors")
    settings = json.loads((Path(folder) / "dense_adapter.json").read_text())
    model.config.get_text_config().pad_token_id = settings["pad_token_id"]  # a decoder's head skips it
    for name, source in settings["sites"].items():
        site, size = model.get_submodule(name), tensors.get(f"{name}.adapter.down.weight")
        square = tensors.get(f"{name}.adapter.weight")
        site.adapter = Bottleneck(*size.shape) if square is None else Square(*square.shape[::-1], bias=False)
        if source is None:
            site.register_forward_hook(lambda site, _, output: output + site.adapter(output))
        else:
            kept = {}
            model.get_submodule(source).register_forward_pre_hook(lambda _, x, kept=kept: kept.update(x=x[0]))
            site.register_forward_hook(lambda site, _, output, kept=kept: output + site.adapter(kept.pop("x")))
    assert not model.load_state_dict(tensors, strict=False).unexpected_keys  # this also loads LayerNorms and head
    return model
