"""Attach a dense adapter to the plain Transformers model of its base. Needs only torch, transformers and safetensors.

>>> model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
>>> attach(model, "folder").eval()
"""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


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
    """Add adapter(x) to each site's output. x is that output, or the source module's input.

    The configuration gets the labels' names, the type of problem, and the token to pad with. A decoder needs its
    padding on the right, and with this token. What was trained stays in float32 on a model in half precision.

    Raises:
        ValueError: if the model is not the base that the adapter was trained on, or has a dense adapter already. The
            model is unchanged then.
    """
    tensors = load_file(Path(folder) / "dense_adapter.safetensors")
    settings = json.loads((Path(folder) / "dense_adapter.json").read_text())
    sites, labels, base = settings["sites"], settings["id2label"], settings["base_model"] or "which has no name"
    trained = {n: t for n, t in tensors.items() if not n.startswith(tuple(f"{site}.adapter." for site in sites))}
    present = dict(model.named_parameters())
    frozen = {name: parameter for name, parameter in present.items() if name not in trained}
    if hasattr(model, "dense_adapter"):
        raise ValueError(f"the model has the adapter of {model.dense_adapter} already; load its base ({base}) again")
    for name, tensor in trained.items():
        if name not in present or present[name].shape != tensor.shape:
            named = f"{name} of size {tuple(tensor.shape)}"
            raise ValueError(f"the model has no {named}; load the adapter's base ({base}), num_labels={len(labels)}")
    if not equal_but_for_rounding(numbers_of(frozen), torch.tensor(settings["base_numbers"], dtype=torch.float32)):
        raise ValueError(f"the model's frozen weights are not those of the adapter's base ({base})")

    model.config.id2label = {int(index): label for index, label in labels.items()}
    model.config.label2id = {label: index for index, label in model.config.id2label.items()}
    model.config.problem_type = settings["problem_type"]
    model.config.get_text_config().pad_token_id = settings["pad_token_id"]  # a decoder's head skips it
    like = next(model.parameters())
    for path, module in list(model.named_modules()):
        load_trained(module, f"{path}." if path else "", trained, bool(frozen))
    for name, source in sites.items():
        site, prefix = model.get_submodule(name), f"{name}.adapter."
        own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        size = own["weight" if "weight" in own else "down.weight"].shape
        site.adapter = Square(*size[::-1], bias=False) if "weight" in own else Bottleneck(*size)
        site.adapter.load_state_dict(own)
        site.adapter.to(like.device, torch.promote_types(like.dtype, torch.float32))
        if source is None:
            site.register_forward_hook(lambda site, _, output: changed(output, site.adapter, output))
        else:
            kept = inputs_by_thread()
            model.get_submodule(source).register_forward_pre_hook(lambda _, x, kept=kept: kept().update(x=x[0]))
            site.register_forward_hook(lambda site, _, out, kept=kept: changed(out, site.adapter, kept().pop("x")))
    model.dense_adapter = str(folder)
    return model


def inputs_by_thread() -> Callable[[], dict[str, Tensor]]:
    """Return a function that gives each thread a dictionary of its own. The compiler, which cannot trace variables of
    a thread, gets one for all. It is read outside of compiled code too, if only the source module is compiled."""
    compiled, local = {}, threading.local()
    return lambda: compiled if compiled or torch.compiler.is_compiling() else local.__dict__


def changed(output: Tensor | tuple, adapter: nn.Module, x: Tensor | tuple) -> Tensor | tuple:
    """Return output + adapter(x), computed in the adapter's precision, in the precision of the output. In a tuple the
    hidden states come first."""
    x = x[0] if isinstance(x, tuple) else x
    if isinstance(output, tuple):
        return changed(output[0], adapter, x), *output[1:]
    dtype = next(adapter.parameters()).dtype
    return (output.to(dtype) + adapter(x.to(dtype))).to(output.dtype)


def load_trained(module: nn.Module, prefix: str, trained: dict[str, Tensor], some_are_frozen: bool) -> None:
    """Load the trained values of a module's own parameters.

    A module that is trained completely computes in float32, even if the others are in half precision. A trained bias
    beside a frozen weight has the precision of the weight. An embedding keeps half precision, because its output is
    rounded anyway.
    """
    own = {prefix + name: parameter for name, parameter in module.named_parameters(recurse=False)}
    computes_in_float32 = not (any(module.children()) or isinstance(module, nn.Embedding))
    alone = not some_are_frozen or (own.keys() <= trained.keys() and computes_in_float32)
    before = {parameter.dtype for parameter in own.values()}
    for name in own.keys() & trained.keys():
        dtype = torch.promote_types(own[name].dtype, torch.float32) if alone else own[name].dtype
        own[name].data = trained[name].to(own[name].device, dtype, copy=True)
    if some_are_frozen and before != {parameter.dtype for parameter in own.values()}:
        module.__class__ = in_own_precision(type(module))


def in_own_precision(plain: type) -> type:
    """Return a class whose modules compute in their parameters' precision, and answer in that of their input."""

    class Converting(plain):
        def forward(self, x):
            return super().forward(x.to(next(self.parameters()).dtype)).to(x.dtype)

    return Converting


def numbers_of(parameters: dict[str, Tensor]) -> Tensor:
    """Return two or three numbers of each parameter. They identify a model, and reading them is cheap."""
    picked = [values.detach().flatten()[:: max(1, values.numel() // 2)] for _, values in sorted(parameters.items())]
    return torch.cat([torch.empty(0), *(values.cpu().float() for values in picked)])


def equal_but_for_rounding(one: Tensor, other: Tensor) -> bool:
    """Return whether all numbers are equal, or are close where one of the two is a number of half precision."""
    if one.shape != other.shape:
        return False
    rounded = torch.stack([x == x.to(dtype) for x in (one, other) for dtype in (torch.float16, torch.bfloat16)]).any(0)
    return bool(((one == other) | (rounded & torch.isclose(one, other, rtol=2**-8, atol=2**-24))).all())
