"""README and docs/: the Python examples run word for word; commands, flags, links and paths are right."""

import contextlib
import importlib
import importlib.util
import io
import re
import runpy
import shlex
from pathlib import Path

import pytest
import torch
from transformers import BertConfig

from tensorized_adapters.arguments.parsing import parse_arguments, words_of_flags
from tensorized_adapters.backbone.architectures import ARCHITECTURES, BERT
from tensorized_adapters.cli.main import SUBCOMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "data" / "paraphrases" / "README.md"]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
RUN_SCRIPT = re.compile(r"(.*/)?run_glue_tensorized(\.py)?")
SWEEP_SCRIPTS = ("sweep_ranks.sh", "sweep_decompositions.sh", "reproduce_tables.sh")
# Programs of others, whose flags are not ours to check.
TOOLS = {"pip", "pip-audit", "zcat", "head", ".", "hf"}
THEIR_FLAGS = {"--index-url", "--no-deps", "--nproc_per_node", "--multi_gpu", "--num_processes", "--target_modules"}


# The Python examples


def examples(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture
def beside_the_data(tmp_path, monkeypatch):
    """Make an empty working folder in which the examples' relative paths work."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_run_as_they_stand_one_after_the_other(beside_the_data, monkeypatch):
    page = ROOT / "docs" / "python.md"
    text = "\n".join(examples(page))
    assert len(examples(page)) == 7 and "optimizer.step()" in text and "Trainer(" in text and "adapters_off(" in text
    assert "unmerge_adapters(model)" in text and "register_architecture(" in text and "adapter_names=" in text
    assert "PeftModel.from_pretrained(" in text
    monkeypatch.setitem(ARCHITECTURES, "roberta-prelayernorm", BERT)  # removes the example's entry afterwards
    del ARCHITECTURES["roberta-prelayernorm"]
    space = {}  # each example uses the names of earlier ones
    for example in examples(page):
        exec(example, space)
        assert torch.isfinite(space["loss"])
        assert (beside_the_data / "adapter" / "adapter_model.safetensors").stat().st_size < 150_000
    assert not hasattr(space["model"], "adaptation")  # the last example but one removed them
    assert space["own"].adaptation.config.describe() == "cp-2"


def test_the_readmes_example_trains_saves_and_predicts(beside_the_data, capsys):
    (example,) = examples(ROOT / "README.md")
    assert len([line for line in example.splitlines() if line]) <= 17
    exec(example, {})
    assert (beside_the_data / "adapter" / "adapter_model.safetensors").stat().st_size < 150_000
    assert "'score'" in capsys.readouterr().out


def test_no_other_page_has_examples_that_are_not_run():
    assert [page.name for page in PAGES if examples(page)] == ["README.md", "python.md"]


# Commands


def commands(text):
    """Return the words of each simple command in a shell text, without comments, with pipes split."""
    for line in text.replace("\\\n", " ").splitlines():
        command = []
        for word in [*shlex.split(line, comments=True), ";"]:
            if word in ("|", "&&", ";"):
                if command:
                    yield command
                command = []
            else:
                command.append(word)


def blocks(page):
    """Return a page's shell blocks, and our commands in its lines and tables."""
    text = page.read_text()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language == "bash" or (not language and "torchrun" in block):
            yield block
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([^`\n]+)`", outside):
        if re.match(r"(\S*python |bash |tensorized-adapters [a-z]|run_glue_tensorized\.py )", code):
            yield code


def flags_in(words):
    return {word.split("=")[0] for word in words if word.startswith("--")}


@pytest.fixture(scope="module")
def help_flags():
    """Return the flags that ``tensorized-adapters SUBCOMMAND --help`` lists, by subcommand."""
    found = {}
    for name in SUBCOMMANDS:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
            importlib.import_module(f"tensorized_adapters.cli.{name}").main(["--help"])
        found[name] = set(re.findall(r"--\w[\w-]*", out.getvalue()))
    found["sweep"] |= words_of_flags()  # a sweep passes these on
    return found


def check_run(words):
    assert flags_in(words) <= words_of_flags()
    abbreviated = "..." in words or "--adapter_path" in words or not words
    if not abbreviated and not words[0].endswith(".json"):
        parse_arguments(words, lambda model: BertConfig())


def check_program(path, words):
    assert (ROOT / path).is_file(), f"{path} does not exist"
    for flag in flags_in(words):
        assert f'"{flag}"' in (ROOT / path).read_text(), f"{path} has no {flag}"


def check_shell(path, words, help_flags):
    assert (ROOT / path).is_file(), f"{path} does not exist"
    name = path.split("/")[-1]
    if name in SWEEP_SCRIPTS:
        assert flags_in(words) <= help_flags["sweep"]
    elif name == "quickstart.sh":
        assert flags_in(words) <= words_of_flags()
    elif name == "setup.sh":
        assert words == ["base-model"]


def check_command(words, help_flags):
    program, *rest = words
    run = next((position for position, word in enumerate(words) if RUN_SCRIPT.fullmatch(word)), None)
    if run is not None:
        check_run(words[run + 1 :])
    elif program.split("/")[-1] == "tensorized-adapters":
        assert rest and rest[0] in SUBCOMMANDS, f"no subcommand {rest[:1]}"
        assert flags_in(rest) <= help_flags[rest[0]], f"unknown: {sorted(flags_in(rest) - help_flags[rest[0]])}"
    elif program == "bash":
        check_shell(rest[0], rest[1:], help_flags)
    elif program.split("/")[-1] == "python" and rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]) is not None
    elif program.split("/")[-1] == "python":
        check_program(rest[0], rest[1:])
    else:
        assert program in TOOLS, f"what is {program}?"


@every_page
def test_every_command_parses(page, help_flags, beside_the_data):
    for name in ("train.csv", "dev.csv"):  # a command names them, and parsing checks that they exist
        Path(name).write_text("question,answer,verdict\nWho?,Me.,1\n")
    for name in ("tickets.csv.gz", "topics.jsonl"):  # tests/data/test_commands.py runs these commands
        Path(name).write_text("some text\n")
    found = [words for block in blocks(page) for words in commands(block)]
    for words in found:
        try:
            check_command(words, help_flags)
        except Exception as error:
            pytest.fail(f"{shlex.join(words)}: {error}")
    assert found or page.name in ("results.md", "experiments.md", "python.md")


def test_a_wrong_command_does_not_pass(help_flags):
    for line in (
        "run_glue_tensorized.py --no_such_flag 1",
        "run_glue_tensorized.py --task_name mrpc --output_dir runs/x --adapter_projection_type no_format",
        "tensorized-adapters no_such_subcommand",
        "tensorized-adapters predict --no_such_flag",
        "bash scripts/no_such_script.sh",
        "python benchmarks/benchmark.py --no_such_flag",
    ):
        with pytest.raises((AssertionError, ValueError)):
            check_command(next(commands(line)), help_flags)


@every_page
def test_every_flag_that_a_text_names_exists(page, help_flags):
    programs = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("results/*.py"), *ROOT.glob("scripts/*.sh")]
    programs += [*ROOT.glob("tests/robustness/*.py"), *ROOT.glob("data/paraphrases/*.py")]
    known = words_of_flags().union(*help_flags.values()) | THEIR_FLAGS
    known |= {flag for program in programs for flag in re.findall(r"--\w[\w-]*", program.read_text())}
    spans = re.findall(r"`[^`\n]+`", page.read_text())
    for flag in {flag for span in spans for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}:
        assert flag in known or (flag.endswith("_") and any(word.startswith(flag) for word in known)), flag


# Links, paths and the picture


def anchors(page):
    """The anchors that GitHub gives to a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_every_file_of_ours_that_a_text_names_exists(page):
    named = r"\b(?:tensorized_adapters|benchmarks|results|scripts|tests|docs|data)/[\w/.-]+\.(?:py|sh|md|svg|csv)\b"
    for path in set(re.findall(named, page.read_text())):
        assert (ROOT / path).exists(), path


def test_every_page_is_linked_from_the_readme():
    text = (ROOT / "README.md").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"docs/{page.name}" not in text] == []


def test_the_picture_is_what_its_script_draws():
    picture = runpy.run_path(str(ROOT / "docs" / "draw_adapter.py"))["picture"]()
    assert (ROOT / "docs" / "adapter.svg").read_text(encoding="utf-8") == picture


def test_the_readme_has_two_screens():
    assert 8_000 <= len((ROOT / "README.md").read_bytes()) <= 10_240
