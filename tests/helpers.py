"""Helpers of the tests: tiny local models, small files, command lines, and the comparison of two runs."""

import csv
import functools
import json
import os
import signal
import threading
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import load_file
from tiny_models import MODELS, build
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

from run_glue_tensorized import main
from tensorized_adapters import UsageError, add_adapters
from tensorized_adapters.adapters.tensorized import views_of
from tensorized_adapters.config import AdapterConfig
from tensorized_adapters.data.tasks import TASKS
from tensorized_adapters.saving.manifest import config_checksum


def tokens():
    return torch.randint(5, 20, (2, 9), generator=torch.Generator().manual_seed(1))


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=tokens()).logits


def trained_a_little(model, steps: int = 3):
    """A few real steps of everything that the method trains."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        model.train()(input_ids=tokens(), labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
    return model.eval()


OWN = ("adapter_projection_type", "tensorized_layer_rank", "adapter_size")


SCRIPT = Path(__file__).parent.parent / "run_glue_tensorized.py"


def assert_equal_runs(one, other):
    """Adapter tensors, metrics and per-step loss, bit for bit; times are not compared."""
    ours, theirs = tensors_of(one), tensors_of(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    records = record_of(one), record_of(other)
    for key in ("step_losses", "history", "best_epoch"):
        assert records[0][key] == records[1][key]
    timed = ("_runtime", "_per_second")
    metrics = [{k: v for k, v in r["metrics"].items() if not k.endswith(timed)} for r in records]
    assert metrics[0] == metrics[1]


def refused(capsys, words, out=None) -> str:
    """Run, and return the one line; the folder must not exist afterwards if it did not before."""
    existed = out is not None and out.exists()
    before = sorted(p.name for p in out.iterdir()) if existed and out.is_dir() else None
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    assert "Traceback" not in error and "usage:" not in error
    if out is not None:
        assert out.exists() == existed
        if before is not None:
            assert sorted(p.name for p in out.iterdir()) == before
    return error


def rewrite(path, change):
    """Change a config record, and write a checksum that fits."""
    record = json.loads(path.read_text()) | change
    path.write_text(json.dumps(record | {"config_sha256": config_checksum(record)}))


def optimizer_of(model, rates, folder, **options):
    """The optimizer that a run would use."""
    from transformers import TrainingArguments

    from tensorized_adapters.training.diff_trainer import trainer_class

    kind = trainer_class(model.adaptation.config)
    arguments = TrainingArguments(output_dir=str(folder), use_cpu=True, **options)
    return kind(model=model, args=arguments, rates=rates, notes={}, arguments={}).create_optimizer()


def matricizations(kind, hidden, bottleneck, interleaved=False, sites=None):
    """The tensor shapes of an adapter's weights: [down, up], or one square matrix without a bottleneck."""
    config = AdapterConfig(
        adapter_projection_type=kind,
        adapter_size=bottleneck or 64,
        if_adapter_like=bottleneck is not None,
        tensor_split="interleaved" if interleaved else "separate",
        tensor_scope="model" if sites else "site",
    )
    return views_of(config, hidden, sites)


def reconstruction(weight):
    """tensorly's own assembly of the tensor, as the matrix that it stands for."""
    return weight.view.matrix_of(weight.to_tensor())


def difference_of(model):
    """The sparse difference of a model under diff pruning."""
    return model.adaptation.method.difference


def glue_folder(folder, task, count=12, files=None):
    """A local folder laid out like the hub's GLUE: one sub-folder a task, declared in the card's header."""
    splits = ["train", *(s for _, s in TASKS[task].evaluation), *(s for _, s in TASKS[task].prediction)]
    further = "".join(
        f"- config_name: {config}\n  data_files:\n  - split: test\n    path: {task}/test_{config}.csv\n"
        for _, config in TASKS[task].diagnostics
    )
    (folder / task).mkdir(parents=True)
    entries = "".join(f"  - split: {s}\n    path: {task}/{s}.csv\n" for s in splits)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {task}\n  data_files:\n{entries}{further}---\n")
    classes = len(TASKS[task].labels or "12345")
    for split in [*splits, *(f"test_{config}" for _, config in TASKS[task].diagnostics)]:
        rows = [
            (*(a, b)[: len(TASKS[task].texts)], -1 if split.startswith("test") else i % classes, i)
            for a, b, _, i in pairs(count, len(split))
        ]
        write_rows(folder / task / f"{split}.csv", rows, (*TASKS[task].texts, "label", "idx"))
    return folder


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


def save_base_of(folder, name: str):
    """:func:`save_base` of an architecture; a decoder's tokenizer has no token to pad with, and pads on the left."""
    model = build(name)[0]
    model.base_model.save_pretrained(folder)
    if "eos_token_id" in MODELS[name][1] and name != "modernbert":
        letters = ["<unk>", "<s>", "</s>", "\u0120", *"abcdefghijklmnopqrstuvwxyz"]  # the fourth is a space in BPE
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({x: i for i, x in enumerate(letters)}, merges=[]))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        names = {"unk_token": "<unk>", "eos_token": "</s>", "padding_side": "left"}
        transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    else:
        (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
        BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
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


def argv(flags: dict, **changes) -> list[str]:
    """Flags as words; a value of None leaves a flag out."""
    return [str(w) for k, v in (flags | changes).items() if v is not None for w in (f"--{k}", v)]


def in_a_thread(action) -> str | None:
    """Call ``action`` in another thread. Return the message with which it was refused, or None."""
    errors = []

    def run():
        try:
            action()
            errors.append(None)
        except UsageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return errors.pop()


def kill_9_after_checkpoint(words: list[str], number: int) -> None:
    """Run ``words`` in a process of its own, killed right after its ``number``-th checkpoint was sealed."""
    child = os.fork()
    if not child:
        try:
            from tensorized_adapters.training import callbacks

            seal, sealed = callbacks.seal_checkpoint, []

            def killing(path):
                seal(path)
                sealed.append(path)
                if len(sealed) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            callbacks.seal_checkpoint = killing
            main(words)
        finally:
            os._exit(1)  # never back into the parent's tests
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def spoil_step(monkeypatch, number, spoil):
    """Let ``spoil`` change the output of a BERT's ``number``-th forward pass in training."""
    forward, calls = BertForSequenceClassification.forward, []

    @functools.wraps(forward)  # Trainer reads the signature
    def spoiling(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        calls.append(self.training)
        if sum(calls) == number:
            spoil(output)
        return output

    monkeypatch.setattr(BertForSequenceClassification, "forward", spoiling)


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def tensors_of(folder):
    return load_file(folder / "adapter" / "adapter_model.safetensors")


FOUR = {"num_hidden_layers": 4}


def adapted_in(layers, **changes):
    config = AdapterConfig(
        adapter_projection_type="cp", tensorized_layer_rank=2, adapter_size=8, adapter_layers=layers, **changes
    )
    return add_adapters(tiny_model(**FOUR), config)
