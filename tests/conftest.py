"""Tiny local models and files: no network, no GLUE data. Everything is built once a session and only read."""

import atexit
import csv
import json
import os
import shutil
import signal
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="tensorized_adapters_tests_")
atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast  # noqa: E402

torch.set_num_threads(1)

WORDS = (
    "the a cat dog bird man woman child saw heard chased found red blue old new house tree river road and not".split()
)


def tiny_config(**changes) -> BertConfig:
    values = {
        "vocab_size": 5 + len(WORDS),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    return BertConfig(**(values | changes))


def tiny_model(**changes) -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(tiny_config(**changes)).eval()


def save_base(folder, seed: int = 0, config: BertConfig | None = None):
    """A base checkpoint with tokenizer, as a hub model has it: no classification head."""
    folder.mkdir()
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(folder)
    torch.manual_seed(seed)
    BertModel(config or tiny_config()).save_pretrained(folder)
    return folder


def write_rows(path, rows, header=("sentence1", "sentence2", "label", "idx"), delimiter=","):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def pairs(count: int, seed: int):
    """Sentence pairs; label 1 where the second repeats the first, 0 where it does not."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for i in range(count):
        first, second = torch.randint(len(WORDS), (2, 3 + i % 5), generator=generator).tolist()
        label = i % 2
        one = " ".join(WORDS[n] for n in first)
        rows.append((one, one if label else " ".join(WORDS[n] for n in second), label, i))
    return rows


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def other_base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Training, validation and test CSVs in MRPC's columns."""
    folder = tmp_path_factory.mktemp("files")
    return {
        "train": write_rows(folder / "train.csv", pairs(48, 1)),
        "validation": write_rows(folder / "validation.csv", pairs(16, 2)),
        "test": write_rows(folder / "test.csv", pairs(12, 3)),
    }


@pytest.fixture
def flags(base, files, tmp_path):
    """A complete command line as a dict; tests change what they are about and pass it through :func:`argv`."""
    return {
        "model_name_or_path": base,
        "task_name": "mrpc",
        "train_file": files["train"],
        "validation_file": files["validation"],
        "do_train": True,
        "do_eval": True,
        "per_device_train_batch_size": 8,
        "num_train_epochs": 2,
        "adapter_projection_type": "cp",
        "tensorized_layer_rank": 2,
        "adapter_size": 8,
        "cpu_threads": 1,
        "disable_tqdm": True,
        "output_dir": tmp_path / "out",
    }


def argv(flags: dict, **changes) -> list[str]:
    """Flags as words; a value of None leaves a flag out."""
    return [str(w) for k, v in (flags | changes).items() if v is not None for w in (f"--{k}", v)]


def kill_9_after_checkpoint(words: list[str], number: int) -> None:
    """Run ``words`` in a process of its own, killed right after its ``number``-th checkpoint was sealed."""
    child = os.fork()
    if not child:
        try:
            from run_glue_tensorized import main
            from tensorized_adapters import trainer

            seal, sealed = trainer.seal_checkpoint, []

            def killing(path):
                seal(path)
                sealed.append(path)
                if len(sealed) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            trainer.seal_checkpoint = killing
            main(words)
        finally:
            os._exit(1)  # never back into the parent's tests
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def tensors_of(folder):
    return load_file(folder / "adapter" / "adapter_model.safetensors")
