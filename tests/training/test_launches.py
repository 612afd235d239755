"""The Trainer's effects on a GPU, shown on CPU: where the host would wait, and what is compiled again."""

import traceback
from pathlib import Path

import accelerate.data_loader
import pytest
import torch
from exhaustive import exhaustive_but
from helpers import argv, pairs, write_rows
from tiny_models import MODELS, build
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import tensorized_adapters
from run_glue_tensorized import main
from tensorized_adapters.backbone.architectures import ARCHITECTURES
from tensorized_adapters.backbone.parts import with_ready_mask
from tensorized_adapters.training.losses import StepLosses
from tensorized_adapters.training.trainer import AdapterTrainer

PACKAGE = str(Path(tensorized_adapters.__file__).parent)
TRAINER = str(Path("transformers") / "trainer.py")
LOADER = str(Path("accelerate") / "data_loader.py")


def _place() -> str:
    """The innermost file on the stack that is neither torch's nor this one."""
    stack = [frame.filename for frame in traceback.extract_stack()]
    return [name for name in stack if "/torch/" not in name and name != __file__][-1]


class _Waits(TorchDispatchMode):
    """Record where a number is read from a tensor (``item``, ``bool``, ``float``), or a shape depends on numbers
    (``nonzero``, ``x[mask]``). On a GPU the host would wait there."""

    def __init__(self):
        super().__init__()
        self.files: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        shaped = torch.Tag.dynamic_output_shape in function.tags
        if function is torch.ops.aten.index.Tensor:
            shaped = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        if shaped or torch.Tag.data_dependent_output in function.tags:
            self.files.append(_place())
        return function(*args, **(kwargs or {}))


class _Copies(TorchFunctionMode):
    """Record where tensors are copied to the host, which on CPU dispatches nothing."""

    KINDS = {torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__}

    def __init__(self):
        super().__init__()
        self.files: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in self.KINDS:
            self.files.append(_place())
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("accumulated", [1, 2])
def test_no_step_waits_for_the_device(flags, monkeypatch, accumulated):
    """Losses and norms are read where the Trainer logs, every third step, and at the end of the epoch."""
    waits, copies, train, read, reads = _Waits(), _Copies(), AdapterTrainer.train, StepLosses.read, []
    copied, send = [], accelerate.data_loader.send_to_device

    def watched(self, *args, **kwargs):
        with waits, copies:
            return train(self, *args, **kwargs)

    def sent(*args, non_blocking=False, **kwargs):
        copied.append(non_blocking)
        return send(*args, non_blocking=non_blocking, **kwargs)

    def counted(self):
        before = len(self.values)
        read(self)
        reads.append(len(self.values) - before)

    monkeypatch.setattr(AdapterTrainer, "train", watched)
    monkeypatch.setattr(StepLosses, "read", counted)
    monkeypatch.setattr(accelerate.data_loader, "send_to_device", sent)
    batches = {"per_device_train_batch_size": 8 // accumulated, "gradient_accumulation_steps": accumulated}
    changes = {"do_eval": None, "validation_file": None, "save_strategy": "no", "logging_steps": 3}
    changes["dataloader_pin_memory"] = True  # as with a GPU
    assert main(argv(flags, num_train_epochs=1, **batches, **changes)) == 0
    # The Trainer's own alone: loss and norm of two log lines, and the last loss; and a seed, before the first step.
    assert [name.endswith(LOADER) for name in waits.files] == [True] + 5 * [False], waits.files
    assert all(name.endswith(TRAINER) for name in waits.files[1:]), waits.files
    assert copied and all(copied)  # of batches, from page-locked memory
    assert reads == [3, 3, 0]
    # Ours: losses and norms of two reads; the order of an epoch lies on the host anyway.
    ours = [Path(name).name for name in copies.files if name.startswith(PACKAGE) and not name.endswith("sampler.py")]
    assert ours == 4 * ["losses.py"] and not [name for name in copies.files if name.endswith(TRAINER)], copies.files


def padded(examples):
    """A batch; what is missing is padded by 0."""
    ids = torch.nn.utils.rnn.pad_sequence(examples, batch_first=True)
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@pytest.mark.parametrize("name", [name for name in MODELS if ARCHITECTURES[name].masks_padding_alone])
@pytest.mark.parametrize("lengths", [(9, 5), (7, 7)])
def test_a_ready_mask_is_what_the_model_makes_without_a_look_at_its_numbers(name, lengths):
    model, examples = build(name)[0], [torch.arange(5, 5 + length) for length in lengths]
    with torch.no_grad(), _Waits() as waits:
        ready = model(**with_ready_mask(model, padded(examples))).logits
    assert not waits.files
    with torch.no_grad():
        torch.testing.assert_close(ready, model(**padded(examples)).logits, rtol=0, atol=1e-6)


def test_other_attention_keeps_its_masks():
    others = [build(name)[0] for name in MODELS if not ARCHITECTURES[name].masks_padding_alone]
    eager = build("bert")[0]
    eager.set_attn_implementation("eager")
    batch = padded([torch.arange(5, 9), torch.arange(5, 7)])
    assert all(with_ready_mask(model, batch) is batch for model in [*others, eager])


@pytest.mark.parametrize("grouped", exhaustive_but([True], [False, True]))
def test_torch_compile_takes_every_batch_of_a_run_at_once(flags, tmp_path, grouped):
    """Batches have many lengths, and the last one of an epoch is smaller. There is no graph break, and no new
    compilation."""
    rows = [(" ".join([one] * (1 + n % 3)), *rest) for n, (one, *rest) in enumerate(pairs(45, 1))]
    flags |= {"train_file": write_rows(tmp_path / "long.csv", rows), "torch_compile_backend": "eager"}
    torch.compiler.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    assert main(argv(flags, torch_compile=True, per_device_train_batch_size=8, group_by_length=grouped or None)) == 0
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
