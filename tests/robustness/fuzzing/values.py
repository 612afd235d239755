"""Ordinary and nasty values: of flags, cells and JSON."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st
from transformers import HfArgumentParser

from tensorized_adapters.arguments.parsing import GROUPS

_ACTIONS = {
    action.dest: action
    for action in HfArgumentParser(GROUPS)._actions
    if not action.dest.startswith("torch_compile") and action.dest not in ("help", "notes")  # minutes of a compiler
}
FLAGS = set(_ACTIONS)

NASTY = [
    *[
        "",
        " ",
        "-1",
        "0",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e308",
        "9" * 30,
        "1_0",
        "0x10",
        "\u0967",
        "True",
        "None",
    ],
    *[
        "null",
        "[]",
        "{}",
        '{"a": 1}',
        "[1, [2]]",
        "{",
        "-",
        "--do_train",
        "=",
        "%s %d {0}",
        "a\nb",
        "\x1b[31m",
        "\u202eabc",
    ],
    *[
        "\udcff",
        "\U0001f4a5",
        "a" * 5000,
        "no/such/path",
        "../..",
        "/",
        "/dev/null",
        "/proc/self/mem",
        "C:\\x",
        "$HOME",
    ],
]
# Flags whose larger values are no mistake, but a long run, many processes or many threads.
_OWN_VALUES = {
    "max_steps": ["1", "2", "-1", "0", "-5", "x", "", "1.5"],
    "num_train_epochs": ["1", "0.5", "1e-9", "0", "-1", "nan", "inf", "x", "", "1e300"],
    "dataloader_num_workers": ["0", "1", "-1", "x", "", "1.5"],
    "cpu_threads": ["1", "2", "0", "-1", "x", "", "9" * 30],
    "output_dir": [
        "out",
        "out/deep/er",
        "",
        ".",
        "..",
        "/",
        "/dev/null",
        "out/a\nx",
        "out/" + "a" * 300,
    ],
    "cache_dir": ["cache", "", "/dev/null", "cache/a\nb"],
    "prefix_cache_dir": ["cache", "", "/dev/null", "~nobody_here/x", "cache/" + "a" * 300],
    "logging_dir": ["out/logs", ""],
    "trust_remote_code": ["False", "x", ""],
}
_LEAVES = [
    *[
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        10**30,
        -(2**63),
        0.5,
        1e308,
        -1e308,
        float("nan"),
        float("inf"),
        "",
        "x",
        "0",
        "1",
    ],
    *[
        "nan",
        "../../x",
        "/dev/null",
        "a\nb",
        "\u202e\x00",
        "\ud800",
        "x" * 3000,
        [],
        {},
        [1],
        [None],
        ["a", 1],
        {"a": 1},
    ],
    *[{"": None}, [[[]]], {"0": {"0": {}}}, {"a": "b"}, "cp", "mrpc", "dense", "lora", "full", "out"],
]
JSON_VALUES = st.one_of(st.sampled_from(_LEAVES), st.integers(), st.floats(), st.text(max_size=8)).map(copy.deepcopy)


def flag_values(name: str, paths: list[str]) -> st.SearchStrategy[str]:
    """Return values of a flag as words: of its kind, or of no kind."""
    if name in _OWN_VALUES:
        return st.sampled_from(_OWN_VALUES[name])
    action = _ACTIONS[name]
    if action.choices:
        good = [str(choice) for choice in action.choices]
    elif action.nargs == "?":  # a flag that can stand without a value: yes or no
        good = ["True", "False"]
    elif action.type is int:
        good = ["1", "2", "3", "8", "64", "1000000", "2147483648"]
    elif action.type is float:
        good = ["0", "1e-3", "0.5", "1", "2", "1e-30", "1e30"]
    else:
        good = [
            "True",
            "False",
            "auto",
            "steps",
            "epoch",
            "accuracy",
            "eval_loss",
            "all",
            "0-1",
            "query,value",
            *paths,
        ]
    ordinary = st.sampled_from(good)  # most of the time, since refused types would hide other faults
    return st.one_of(ordinary, ordinary, ordinary, st.sampled_from(NASTY), st.text(max_size=6).filter(_sendable))


def cell_values() -> st.SearchStrategy[str]:
    """Return cells of a table."""
    known = [
        "a cat",
        "0",
        "1",
        "2",
        "-1",
        "0.5",
        "0.0",
        "1e400",
        "nan",
        "inf",
        "None",
        "NULL",
        "yes",
        "no",
        "",
        " ",
        '"',
    ]
    known += [
        'a"b',
        "a,b",
        "a\tb",
        "a\nb",
        "a\rb",
        "\x00",
        "\u2028",
        "\ufeff",
        "word " * 2000,
        "9" * 30,
        "=1+1",
        "\u0967",
    ]
    return st.one_of(st.sampled_from(known), st.text(max_size=6))


def paths_in(value: Any) -> Iterator[tuple]:
    """Yield the paths of all values in a JSON value, its own empty path first."""
    yield ()
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        for path in paths_in(inner):
            yield (key, *path)


@st.composite
def mutated(draw: Callable, value: Any, replacements: st.SearchStrategy) -> Any:
    """Draw a copy in which one to three entries at any depth are replaced or removed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        paths = [path for path in paths_in(value) if path]
        if not paths:
            return draw(replacements)
        *way, last = draw(st.sampled_from(paths))
        inner = value
        for key in way:
            inner = inner[key]
        if draw(st.integers(0, 3)) == 0:
            del inner[last]
        else:
            inner[last] = draw(replacements)
    return value if draw(st.integers(0, 19)) else draw(replacements)


def _sendable(text: str) -> bool:
    """Return whether an operating system can pass the text as a word of a command."""
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in text
