"""Imports point one way, from a room to those below it, and no modules import each other in a circle.

All imports count: those inside functions, and those for type checkers alone.
"""

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "tensorized_adapters"
# Modules beside the rooms, and the room to which each belongs.
BELONGS = {"method_table": "config", "strict_json": "errors", "embedded": "backbone"}
BELONGS |= {"__main__": "cli", "run_glue_tensorized": "run script"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in [*(ROOT / PACKAGE).rglob("*.py"), ROOT / "run_glue_tensorized.py"]}


def imports_of(name, text, is_package):
    """The modules of this program that the text of a module imports."""
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            names = {f"{source}.{alias.name}" for alias in node.names}
            found = {each if each in FILES else source for each in names}
        else:
            continue
        yield from found & FILES.keys() - {name}


def room_of(name):
    part = name.removeprefix(f"{PACKAGE}.").split(".")[0]
    return BELONGS.get(part, part)


def levels():
    """The level of each room, from the line in docs/development.md; the lowest is 0."""
    text = (ROOT / "docs" / "development.md").read_text()
    line = re.search(r"checks it: (.*?)\.\n", text, re.DOTALL)[1].replace("\n", " ")
    return {room.strip(): number for number, rooms in enumerate(line.split("|")) for room in rooms.split(",")}


def upward(imports, level):
    """The imports that do not point downward, each as a text."""
    for name, imported in sorted(imports.items()):
        for other in sorted(imported - {PACKAGE}):
            if room_of(name) != room_of(other) and level[room_of(other)] >= level[room_of(name)]:
                yield f"{name} imports {other}"


IMPORTS = {name: {*imports_of(name, path.read_text(), path.name == "__init__.py")} for name, path in FILES.items()}


def test_every_import_points_downward():
    level = levels()
    assert {room_of(name) for name in FILES} - {PACKAGE} == level.keys()
    assert list(upward(IMPORTS, level)) == []


def test_no_modules_import_each_other_in_a_circle():
    list(graphlib.TopologicalSorter(IMPORTS).static_order())  # raises CycleError, which names the circle


def test_these_tests_see_what_they_look_for():
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..data import tasks\n"
    text += "def later():\n    from tensorized_adapters.cli.main import main\n    from . import parts\n"
    name = f"{PACKAGE}.backbone.loading"
    found = {*imports_of(name, text, is_package=False)}
    assert found == {f"{PACKAGE}.{other}" for other in ("data.tasks", "cli.main", "backbone.parts")}
    expected = [f"{name} imports {PACKAGE}.{other}" for other in ("cli.main", "data.tasks")]
    assert list(upward({name: found}, levels())) == expected
    with pytest.raises(graphlib.CycleError):
        list(graphlib.TopologicalSorter(IMPORTS | {f"{PACKAGE}.errors": {f"{PACKAGE}.config"}}).static_order())
