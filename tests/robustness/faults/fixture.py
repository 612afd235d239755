"""Makes a tiny model, tiny data and an undisturbed run, which each disturbed run must equal bit for bit."""

import csv
import hashlib
import json
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

WORDS = "the a cat dog bird man woman child saw heard chased found red blue old new house tree river road".split()
_TIMED = ("_runtime", "_per_second")


@dataclass
class Inputs:
    """A base model's folder and two data files."""

    base: Path
    train: Path
    validation: Path

    def words(self, out: Path, seed: int = 1) -> list[str]:
        """Return the command of a run of 18 steps with six checkpoints, of which two are kept."""
        flags = {
            "model_name_or_path": self.base,
            "task_name": "mrpc",
            "train_file": self.train,
            "validation_file": self.validation,
            "do_train": True,
            "do_eval": True,
            "per_device_train_batch_size": 8,
            "num_train_epochs": 3,
            "save_strategy": "steps",
            "save_steps": 3,
            "adapter_projection_type": "cp",
            "tensorized_layer_rank": 2,
            "adapter_size": 8,
            "cpu_threads": 1,
            "disable_tqdm": True,
            "seed": seed,
            "output_dir": out,
        }
        return [str(word) for name, value in flags.items() for word in (f"--{name}", value)]


@dataclass
class Fixture:
    """What all trials share and only read.

    Attributes:
        folder: everything is below it.
        undisturbed: the result of the undisturbed run.
        seconds: its duration.
        bytes: the sizes of its largest file and of all its files.
        operations: how many changes of files it makes in its folder.
        half: the folder of a run that was killed when half of the steps were done.
        mounts: whether a small file system can be mounted.
    """

    folder: Path
    inputs: Inputs
    undisturbed: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    bytes: tuple[int, int] = (0, 0)
    operations: int = 0
    half: Optional[Path] = None
    mounts: bool = False

    def own_inputs(self, folder: Path) -> Inputs:
        """Return copies of the inputs, which a trial may damage."""
        shutil.copytree(self.inputs.base, folder / "base")
        copies = [shutil.copy(path, folder) for path in (self.inputs.train, self.inputs.validation)]
        return Inputs(folder / "base", *map(Path, copies))

    def half_run(self, out: Path) -> Path:
        """Copy the killed run into ``out``."""
        shutil.copytree(self.half, out, dirs_exist_ok=True)
        return out


def make_inputs(folder: Path) -> Inputs:
    """Write a two-layer BERT of random weights with its tokenizer, and sentence pairs that are alike or not."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    base = folder / "base"
    base.mkdir(parents=True)
    vocabulary = base / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(base)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=5 + len(WORDS), max_position_embeddings=64, **sizes)).save_pretrained(base)
    return Inputs(base, write_pairs(folder / "train.csv", 48, 1), write_pairs(folder / "validation.csv", 16, 2))


def write_pairs(path: Path, count: int, seed: int) -> Path:
    """Write sentence pairs in MRPC's columns. The label is 1 where the second sentence repeats the first."""
    draw = random.Random(seed)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("sentence1", "sentence2", "label", "idx"))
        for i in range(count):
            one, other = (" ".join(draw.choices(WORDS, k=3 + i % 5)) for _ in range(2))
            writer.writerow((one, one if i % 2 else other, i % 2, i))
    return path


def result_of(out: Path) -> dict[str, Any]:
    """Return the results that must be equal: adapter tensors (as sha256), metrics and the loss of each step."""
    from safetensors.torch import load_file

    tensors = load_file(out / "adapter" / "adapter_model.safetensors")
    record = json.loads((out / "run.json").read_text())
    result = {
        f"tensor {name}": hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in tensors.items()
    }
    result |= {name: value for name, value in record["metrics"].items() if not name.endswith(_TIMED)}
    return result | {name: record[name] for name in ("status", "step_losses", "history", "best_epoch")}


def difference(out: Path, expected: dict[str, Any]) -> Optional[str]:
    """Return how a run's result differs from the expected one, or None."""
    try:
        result = result_of(out)
    except Exception as error:  # any damage is a difference
        return f"its result cannot be read: {type(error).__name__}: {error}"
    odd = sorted(n for n in result.keys() | expected.keys() if result.get(n) != expected.get(n))
    return f"other bits: {', '.join(odd[:3])}" if odd else None
