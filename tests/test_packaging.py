"""What pip installs: what it needs, in ranges around the pins, and the commands."""

import ast
import importlib.util
import re
import runpy
import sys
import tomllib
from pathlib import Path

import pytest
from helpers import CONFIGS, argv, refused, tiny_model
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tensorized_adapters import UsageError, add_adapters
from tensorized_adapters.cli import main as commands

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
DEVELOPERS = {"fuzz", "fuzzing"}  # of the scripts; they say themselves what they lack


def pins():
    for name in ("requirements.txt", "requirements-sweeps.txt"):
        lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
        yield from (Requirement(line) for line in lines if line)


DISTRIBUTIONS = {"sklearn": "scikit-learn", "tltorch": "tensorly-torch", "yaml": "pyyaml"}  # of another name


def third_party(path):
    """The distributions that a file imports, of those that are not Python's or ours."""
    ours = {"tensorized_adapters", "run_glue_tensorized", *(p.stem for p in (ROOT / "scripts").iterdir())}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - ours:
            yield canonicalize_name(DISTRIBUTIONS.get(name, name))


def test_each_pin_lies_in_its_range_and_each_range_has_a_pin():
    pinned = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins()}
    assert pinned.keys() == RANGES.keys()
    for name, version in pinned.items():
        assert version in RANGES[name].specifier, f"{RANGES[name]} does not hold {version}"


def test_every_import_is_declared():
    files = [ROOT / "run_glue_tensorized.py", *(ROOT / "tensorized_adapters").rglob("*.py")]
    files += [p for p in (ROOT / "scripts").rglob("*.py") if not DEVELOPERS & {*p.parts, p.stem}]
    undeclared = {(name, path.name) for path in files for name in third_party(path) if name not in RANGES}
    assert {name for name, _ in undeclared} <= {"grpc"}, undeclared  # which ray[client] brings along
    base = {canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]}
    assert not {"peft", "matplotlib", "ray"} & base


def test_every_package_is_installed():
    packages = {
        ".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "tensorized_adapters").rglob("__init__.py")
    }
    packages |= {f"tensorized_adapters_scripts.{p.parent.name}" for p in (ROOT / "scripts").glob("*/__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages | {"tensorized_adapters_scripts"}


def test_the_commands_run_the_scripts(capsys, monkeypatch):
    run = []
    monkeypatch.setattr(runpy, "run_path", lambda path, run_name: run.append((path, run_name, sys.argv)))
    monkeypatch.setattr(sys, "path", sys.path[:])
    for words in (["x", "predict", "--help"], ["x", "nonsense\n"], ["x"]):
        monkeypatch.setattr(sys, "argv", words)
        if "nonsense\n" in words:
            with pytest.raises(SystemExit, match="2"):
                commands.main()
        else:
            commands.main()
    script = str(ROOT / "scripts" / "predict.py")
    assert run == [(script, "__main__", [script, "--help"])] and str(ROOT / "scripts") in sys.path
    out, error = capsys.readouterr()
    assert error.startswith("error: no script nonsense\\n; there are ") and error.count("\n") == 1
    assert {"predict", "report", "sweep", "count_parameters"} <= set(re.findall(r"^  (\w+)$", out, re.MULTILINE))
    monkeypatch.setattr(sys, "argv", ["x", "--do_train"])
    commands.run_glue()
    script = str(ROOT / "run_glue_tensorized.py")
    assert run[-1] == (script, "__main__", [script, "--do_train"])
    for place in PROJECT["project"]["scripts"].values():
        module, function = place.split(":")
        assert module == commands.__name__ and callable(getattr(commands, function))


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
    monkeypatch.syspath_prepend(ROOT / "scripts")
    report = runpy.run_path(str(ROOT / "scripts" / "report.py"))["main"]
    assert report(["runs", "--output_dir", "x"]) == 2
    assert "a report needs matplotlib, which is missing: pip install 'tensorized-adapters[report]'" in (
        capsys.readouterr().err
    )
