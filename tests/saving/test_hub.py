"""Adapters on the hub. A local stand-in for the hub answers, and logs the requests."""

import re
import shutil

import huggingface_hub.constants
import pytest
import torch
from helpers import argv, logits, record_of, refused, tiny_model, trained_a_little
from hub_stand_in import READER, WRITER, HubStandIn
from huggingface_hub import ModelCard
from tiny_models import CONFIGS

from run_glue_tensorized import main
from tensorized_adapters import UsageError, add_adapters, load_adapter, load_pipeline, push_adapter, save_adapter
from tensorized_adapters.data.arguments import DataTrainingArguments
from tensorized_adapters.data.tasks import TASKS, other_task
from tensorized_adapters.runs.push_to_hub import training_of
from tensorized_adapters.saving.model_card import model_card

ADAPTER = ["README.md", "adapter_config.json", "adapter_model.safetensors"]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with HubStandIn() as hub:
        for name, value in (
            ("ENDPOINT", hub.endpoint),
            ("HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"),
            ("HF_HUB_OFFLINE", False),
            ("HF_HUB_DISABLE_XET", True),  # a protocol of compiled code, which large files take on the real one
            ("HF_HUB_CACHE", str(tmp_path / "cache")),
            ("HF_TOKEN_PATH", str(tmp_path / "no_token")),
        ):
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield hub


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Models that were trained a little, and their folders, in which there are private files too."""
    made = {}
    for name in ("tensorized", "lora"):
        folder = tmp_path_factory.mktemp("run")
        model = trained_a_little(add_adapters(tiny_model(), CONFIGS[name]))
        save_adapter(model, folder / "adapter", {"task": "own"})
        for private in ("run.json", "checkpoint-3/optimizer.pt", "adapter/data.csv", "adapter/notes/private.txt"):
            (folder / private).parent.mkdir(exist_ok=True)
            (folder / private).write_text("private")
        made[name] = folder, model
    return made


@pytest.mark.parametrize("name", ["tensorized", "lora"])
def test_what_is_uploaded_is_the_adapter_and_comes_back(hub, adapters, capsys, monkeypatch, name):
    folder, model = adapters[name]
    files = ADAPTER + (["tensorized_adapters.json"] if name == "lora" else [])
    address = push_adapter(folder, "own-adapter")
    repository, commit = address.split("@")
    assert repository == "someone/own-adapter" and commit == hub.repositories[repository].refs["main"]
    assert sorted(hub.uploaded) == files  # and nothing else of what lies around them
    assert (
        'load_adapter(model, "someone/own-adapter")'
        in hub.repositories[repository].commits[commit]["README.md"].decode()
    )
    capsys.readouterr()
    assert torch.equal(logits(load_adapter(tiny_model(), repository)), logits(model))
    expected = f"note: {repository} is read at commit {commit}; {address} always names this version\n"
    assert capsys.readouterr().err == expected
    # With a commit, nothing is printed, and nothing is requested once it was downloaded.
    asked = len(hub.log)
    assert torch.equal(logits(load_adapter(tiny_model(), address)), logits(model))
    assert torch.equal(logits(load_adapter(tiny_model(), repository, revision=commit)), logits(model))
    assert capsys.readouterr().err == "" and len(hub.log) == asked
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    load_adapter(tiny_model(), repository)
    assert f"{repository} is read from the cache (HF_HUB_OFFLINE) at commit {commit}" in capsys.readouterr().err


def test_another_adapter_on_another_branch_leaves_nothing_of_the_one_before(hub, adapters):
    first = push_adapter(adapters["lora"][0], "someone/one")
    second = push_adapter(adapters["tensorized"][0], "someone/one", revision="next")
    assert "tensorized_adapters.json" not in hub.repositories["someone/one"].commits[second.split("@")[1]]
    for address, name in ((first, "lora"), ("someone/one", "lora"), ("someone/one@next", "tensorized")):
        assert torch.equal(logits(load_adapter(tiny_model(), address)), logits(adapters[name][1]))


def test_a_local_folder_comes_first(hub, adapters, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(adapters["lora"][0] / "adapter", "someone/one")
    load_adapter(tiny_model(), "someone/one")
    with pytest.raises(UsageError, match="revision 'v1' is one of the hub's"):
        load_adapter(tiny_model(), "someone/one", revision="v1")
    assert not hub.log


def test_what_the_hub_refuses_is_one_line(hub, adapters, monkeypatch):
    folder = adapters["tensorized"][0]
    address = push_adapter(folder, "someone/secret", private=True)
    hub.repositories["someone/empty"] = type(hub.repositories["someone/secret"])()
    hub.repositories["someone/empty"].commit("main", {"README.md": b"# Mine"})

    def message(address, **options):
        with pytest.raises(UsageError) as caught:
            load_adapter(tiny_model(), address, **options)
        assert "\n" not in str(caught.value) and WRITER not in str(caught.value)
        return str(caught.value)

    assert "someone/secret@v9 is no folder here, and on the hub it cannot be read: it has no such" in message(
        "someone/secret@v9"
    )
    assert "the hub has no such repository, or it is private; check the name, or sign in" in message("someone/none")
    assert "someone/empty on the hub is no adapter: it has no adapter_config.json" in message("someone/empty")
    assert "says its revision, and 'v2' is another" in message("someone/secret@v1", revision="v2")
    monkeypatch.delenv("HF_TOKEN")
    assert "or it is private; check the name, or sign in with `hf auth login` or set HF_TOKEN" in message(
        "someone/secret"
    )
    load_adapter(tiny_model(), "someone/secret", token=READER)
    with pytest.raises(UsageError, match=r"someone/secret cannot be uploaded to: the hub does not allow it \(403\)"):
        push_adapter(folder, "someone/secret", token=READER)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "someone/none is no folder here, and on the hub it cannot be read: HF_HUB_OFFLINE is set" in message(
        "someone/none"
    )
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set; unset it"):
        push_adapter(folder, "someone/secret", token=WRITER)
    load_adapter(tiny_model(), address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "no connection to the hub, or it broke off" in message("someone/none")


def test_an_adapter_that_is_incomplete_is_not_uploaded(hub, adapters, tmp_path):
    shutil.copytree(adapters["tensorized"][0] / "adapter", tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(UsageError, match="is truncated or was altered"):
        push_adapter(tmp_path, "someone/one")
    assert not hub.log


def test_a_run_uploads_at_its_end_and_another_starts_from_there(hub, flags, base, capsys, tmp_path, monkeypatch):
    shared = {"push_to_hub": True, "hub_model_id": "someone/mrpc", "num_train_epochs": 1}
    monkeypatch.setenv("HF_TOKEN", READER)
    assert "cannot be uploaded to: the hub does not allow it" in refused(
        capsys, argv(flags, **shared), flags["output_dir"]
    )
    assert main(argv(flags, **shared, hub_token=WRITER)) == 0
    repository = hub.repositories["someone/mrpc"]
    assert capsys.readouterr().out.endswith(f"uploaded: someone/mrpc@{repository.refs['main']}\n")
    assert sorted(hub.uploaded) == ADAPTER
    # The card says what was measured, on which data, and by which command, without the token.
    files = repository.commits[repository.refs["main"]]
    card, metrics = ModelCard(files["README.md"].decode()), record_of(flags["output_dir"])["metrics"]
    found = {result.metric_type: result for result in card.data.eval_results}
    assert found["f1"].metric_value == metrics["eval_f1"] and found["f1"].dataset_name == "validation.csv"
    assert card.data.library_name == "tensorized-adapters" and "cp" in card.data.tags
    assert card.data.base_model is None and WRITER not in card.content  # the base is a folder of this machine
    command = re.search(r"```bash\n(.*)\n```", card.text)[1]
    assert command == record_of(flags["output_dir"])["command"] and "--hub_token '***'" in command
    # The same command again: nothing is trained, and the adapter uploaded if it was not.
    hub.broken = True
    assert main(argv(flags, **shared, hub_token=WRITER)) == 1
    error = capsys.readouterr().err
    assert (
        error.startswith("failed: someone/mrpc cannot be uploaded to: the hub answered 503")
        and "again uploads" in error
    )
    hub.broken = False
    # Evaluation of the uploaded adapter gives the same, and the record has its commit.
    address, out = f"someone/mrpc@{repository.refs['main']}", tmp_path / "evaluated"
    own = ("adapter_projection_type", "tensorized_layer_rank", "adapter_size", "do_train", "num_train_epochs")
    assert main(argv(flags, **dict.fromkeys(own), adapter_path="someone/mrpc", output_dir=out)) == 0
    assert record_of(out)["metrics"]["eval_f1"] == metrics["eval_f1"]
    assert record_of(out)["arguments"]["adapter_path"] == address
    assert load_pipeline("someone/mrpc", model_name_or_path=str(base))({"text": "a", "text_pair": "a"})


@pytest.mark.parametrize(
    ("given", "splits"),
    [
        ({"dataset_name": "stanfordnlp/imdb"}, ["validation"]),
        ({"dataset_name": "stanfordnlp/imdb", "validation_split_name": "test"}, ["test"]),
        ({"train_file": "train.csv", "validation_fraction": 0.1}, ["train (--validation_fraction 0.1, held out)"]),
        (
            {"dataset_name": "a/b", "train_split_name": "all", "validation_fraction": 0.5, "max_eval_samples": 9},
            ["all (--validation_fraction 0.5, held out, --max_eval_samples 9)"],
        ),
        ({"task_name": "mnli"}, ["validation_matched", "validation_mismatched"]),
    ],
)
def test_the_card_names_the_rows_that_were_measured(adapters, given, splits):
    arguments = DataTrainingArguments(**given)
    task = TASKS.get(arguments.task_name) or other_task(("text",), ("neg", "pos"))
    metrics = {f"eval_accuracy{suffix}": 0.5 for suffix, _ in task.evaluation}
    card = ModelCard(model_card(adapters["lora"][1], {}, training_of(arguments, task, metrics, "command")).decode())
    assert [result.dataset_split for result in card.data.eval_results] == splits
    assert all(f"| {split} | accuracy | 0.5000 |" in card.text for split in splits)


def test_uploads_that_cannot_be_are_refused(capsys, flags):
    more = argv(flags, push_to_hub=True, hub_strategy="every_save")
    assert "--hub_strategy must be one of end" in refused(capsys, more, flags["output_dir"])
    words = argv(flags, push_to_hub=True, hub_always_push=True)
    assert "--hub_always_push is not supported: --push_to_hub uploads the adapter once" in refused(capsys, words)
    own = ("adapter_projection_type", "tensorized_layer_rank", "adapter_size")
    words = argv(flags, push_to_hub=True, **dict.fromkeys(own), adapter_path="someone/none")
    assert "--push_to_hub needs --do_train" in refused(capsys, [*words, "--do_train", "False"])
    assert "someone/none is no folder here, and on the hub it cannot be read: HF_HUB_OFFLINE is set" in refused(
        capsys, words
    )
