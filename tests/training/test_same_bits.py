"""The trained bits depend on data, seed and training flags alone, not on measurements or files."""

import gc
import threading

import pytest
import torch
from exhaustive import exhaustive_but
from helpers import argv, glue_folder, tiny_model, tokens

from run_glue_tensorized import main
from tensorized_adapters import AdapterConfig, add_adapters, optimizer_groups

REFERENCES = {}  # adapter files that several tests compare with, by what makes them different
OWN = ("adapter_projection_type", "tensorized_layer_rank", "adapter_size")


def adapter_bytes(flags, out, **changes):
    assert main(argv(flags, output_dir=out, **changes)) == 0
    return (out / "adapter" / "adapter_model.safetensors").read_bytes()


def reference(flags, tmp_path, *key, **changes):
    """Return the file of a run that evaluates after every epoch, one for all tests of the same key."""
    if key not in REFERENCES:
        REFERENCES[key] = adapter_bytes(flags, tmp_path / "reference", **changes)
    return REFERENCES[key]


@pytest.mark.parametrize(
    "changes",
    [
        {"eval_strategy": "no"},
        {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "no"},
        pytest.param({"eval_on_start": True}, marks=pytest.mark.exhaustive),
        {"do_eval": None, "validation_file": None},
        pytest.param({"do_predict": True}, marks=pytest.mark.exhaustive),
        {"measure_contribution": True, "max_train_metric_samples": 20},
        {"logging_steps": 1, "save_strategy": "steps", "save_steps": 1},
        pytest.param({"max_eval_samples": 3, "per_device_eval_batch_size": 2}, marks=pytest.mark.exhaustive),
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_measuring_and_writing_leave_training_alone(flags, files, tmp_path, monkeypatch, changes):
    if "dataloader_persistent_workers" in changes:  # torch gives each of them 5 s to end, in vain within pytest
        monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
    flags |= {"per_device_train_batch_size": 16, "test_file": files["test"]}
    assert adapter_bytes(flags, tmp_path / "other", **changes) == reference(flags, tmp_path, "mrpc")
    gc.collect()  # workers that live on


@pytest.mark.parametrize("order", ["random", "sequential"])
def test_in_every_order_of_the_examples(flags, tmp_path, order):
    flags |= {"per_device_train_batch_size": 16, "train_sampling_strategy": order}
    changes = {"do_eval": None, "validation_file": None}
    assert adapter_bytes(flags, tmp_path / "other", **changes) == reference(flags, tmp_path, order)


def test_with_two_evaluation_sets(flags, tmp_path):
    flags |= {"task_name": "mnli", "glue_path": glue_folder(tmp_path / "glue", "mnli")}
    flags |= {"train_file": None, "validation_file": None}
    expected = adapter_bytes(flags, tmp_path / "reference", do_predict=True)
    assert adapter_bytes(flags, tmp_path / "other", do_eval=None) == expected


@pytest.mark.parametrize(
    "method",
    exhaustive_but(["tr", "lora", "diff_pruning"], ["tt", "tr", "dense", "compacter", "lora", "diff_pruning"]),
)
def test_every_method_gives_the_same_file_again(flags, tmp_path, method):
    """This holds with and without evaluation, also for a method's own draws, such as diff pruning's gates."""
    if method in ("tt", "tr"):
        flags |= {"adapter_projection_type": method}
    else:
        flags |= dict.fromkeys(OWN) | {"method": method}
    flags |= {"per_device_train_batch_size": 16}
    expected = adapter_bytes(flags, tmp_path / "one")
    assert adapter_bytes(flags, tmp_path / "two", eval_strategy="no") == expected


def test_an_evaluation_in_another_thread_leaves_training_alone():
    """The evaluations run during all steps, and begin and end at any point of a step."""

    def trained(evaluating: bool):
        config = AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8)
        model = add_adapters(tiny_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), config).train()
        optimizer = torch.optim.AdamW(optimizer_groups(model, learning_rate=2e-3))
        ended, passes = threading.Event(), []

        def evaluate():
            with torch.no_grad():
                while not ended.is_set():
                    passes.append(model(input_ids=tokens()).logits)

        thread = threading.Thread(target=evaluate)
        if evaluating:
            thread.start()
        try:
            for _ in range(40):
                model(input_ids=tokens(), labels=torch.tensor([0, 1])).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        finally:
            ended.set()
            if evaluating:
                thread.join()
        return [parameter.detach().clone() for parameter in model.parameters() if parameter.requires_grad], passes

    expected, _ = trained(evaluating=False)
    values, passes = trained(evaluating=True)
    assert all(torch.equal(one, other) for one, other in zip(values, expected, strict=True))
    assert len(passes) > 1 and all(torch.isfinite(logits).all() for logits in passes)
