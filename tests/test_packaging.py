"""The installation with pip: requirements in ranges around the pins, and the commands."""

import ast
import importlib.util
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import setuptools
from helpers import argv, refused, tiny_model
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tiny_models import CONFIGS

from tensorized_adapters import UsageError, add_adapters
from tensorized_adapters.cli import main as commands
from tensorized_adapters.cli import report
from tensorized_adapters.runtime import exits

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = {
    extra: [line for line in lines if not line.startswith("tensorized-adapters")]
    for extra, lines in PROJECT["project"]["optional-dependencies"].items()
}
RANGES = {
    canonicalize_name(range_.name): range_
    for lines in (PROJECT["project"]["dependencies"], *EXTRAS.values())
    for range_ in map(Requirement, lines)
}
TOOLS = ("benchmarks", "results", "data")  # folders of programs that are not installed


def pins():
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    return [Requirement(line) for line in lines if line]


DISTRIBUTIONS = {"sklearn": "scikit-learn", "tltorch": "tensorly-torch", "yaml": "pyyaml"}  # of another name


def third_party(path):
    """Return the distributions that a file imports, without Python's and ours."""
    ours = {"tensorized_adapters", "run_glue_tensorized"}
    ours |= {p.stem for folder in TOOLS for p in (ROOT / folder).rglob("*") if p.suffix in ("", ".py")}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - ours:
            yield canonicalize_name(DISTRIBUTIONS.get(name, name))


def test_each_pin_lies_in_its_range_and_each_range_has_a_pin():
    pinned = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins()}
    assert pinned.keys() - {"setuptools"} == RANGES.keys()  # setuptools only installs the checkout in place
    for name, version in pinned.items() - {("setuptools", pinned["setuptools"])}:
        assert version in RANGES[name].specifier, f"{RANGES[name]} does not hold {version}"


def test_every_import_is_declared():
    files = [ROOT / "run_glue_tensorized.py", *(ROOT / "tensorized_adapters").rglob("*.py")]
    files += [p for folder in TOOLS for p in (ROOT / folder).rglob("*.py")]
    undeclared = {(name, path.name) for path in files for name in third_party(path) if name not in RANGES}
    assert {name for name, _ in undeclared} <= {"grpc"}, undeclared  # which ray[client] brings along
    base = {canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]}
    assert not {"peft", "matplotlib", "ray"} & base


def test_every_package_is_installed():
    where = PROJECT["tool"]["setuptools"]["packages"]["find"]
    found = set(setuptools.find_packages(str(ROOT), include=where["include"]))
    folders = {p.parent for p in (ROOT / "tensorized_adapters").rglob("*.py")}
    assert found == {".".join(folder.relative_to(ROOT).parts) for folder in folders}


def test_every_other_file_of_a_package_is_installed():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    files = [p for p in (ROOT / "tensorized_adapters").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    for path in [p for p in files if p.suffix != ".py"]:
        package = ".".join(path.parent.relative_to(ROOT).parts)
        assert any(path.match(pattern) for pattern in patterns.get(package, ())), path


def test_the_commands(capsys, monkeypatch):
    for function in PROJECT["project"]["scripts"].values():
        module, name = function.split(":")
        assert module == commands.__name__ and callable(getattr(commands, name))
    listed = subprocess.run([sys.executable, "-m", "tensorized_adapters"], capture_output=True, text=True, cwd=ROOT)
    assert listed.returncode == 0
    assert re.findall(r"^  (\w+) ", listed.stdout, re.MULTILINE) == list(commands.SUBCOMMANDS)
    words = [sys.executable, "-m", "tensorized_adapters", "nonsense\n"]
    unknown = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert unknown.returncode == 2 and unknown.stderr.count("\n") == 1
    assert unknown.stderr.startswith("error: unknown subcommand nonsense\\n; known: predict, ")
    run = []
    monkeypatch.setattr(runpy, "run_path", lambda path, run_name: run.append((path, run_name, sys.argv)))
    monkeypatch.setattr(sys, "argv", ["x", "--do_train"])
    commands.run_glue()
    script = str(ROOT / "run_glue_tensorized.py")
    assert run == [(script, "__main__", [script, "--do_train"])]


@pytest.mark.parametrize("subcommand", commands.SUBCOMMANDS)
def test_help_names_the_subcommand_and_imports_nothing_heavy(subcommand):
    code = (
        f"import sys; sys.argv = ['x', {subcommand!r}, '--help']\n"
        "from tensorized_adapters.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'transformers', 'datasets', 'ray', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: tensorized-adapters {subcommand} "), done.stderr


def test_what_needs_an_extra_names_it(capsys, monkeypatch, flags):
    find_spec = importlib.util.find_spec
    absent = ("peft", "matplotlib")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else find_spec(name))
    own = dict.fromkeys(("adapter_projection_type", "tensorized_layer_rank", "adapter_size"))
    line = "needs peft, which is missing: pip install 'tensorized-adapters[lora]'"
    for method in ("lora", "ia3"):
        assert f"--method {method} {line}" in refused(capsys, argv(flags, **own, method=method), flags["output_dir"])
        with pytest.raises(UsageError, match=re.escape(line)):
            add_adapters(tiny_model(), CONFIGS[method])
    add_adapters(tiny_model(), CONFIGS["tensorized"])
    assert exits.run(report.main, ["runs", "--output_dir", "x"]) == 2
    assert "a report needs matplotlib, which is missing: pip install 'tensorized-adapters[report]'" in (
        capsys.readouterr().err
    )
