"""Hostile input: hypothesis strategies of cases, one a kind."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from fuzzing.cases import Case, Materials
from fuzzing.folders import adapter_cases, checkpoint_cases
from fuzzing.values import FLAGS, JSON_VALUES, cell_values, flag_values


def argument_cases(materials: Materials) -> st.SearchStrategy[Case]:
    """Return cases in which one to four flags of a command that works are changed."""
    paths = [str(path) for path in materials.hostile.values()]
    one = st.sampled_from(sorted(FLAGS)).flatmap(lambda name: st.tuples(st.just(name), flag_values(name, paths)))
    changed = st.lists(one, min_size=1, max_size=4).map(dict)
    other_method = st.sampled_from(("dense", "compacter", "bitfit", "lora", "ia3", "diff_pruning", "head", "full"))

    def of_method(method: str, flags: dict[str, Any]) -> Case:
        left_out = ("adapter_projection_type", "tensorized_layer_rank") + ("adapter_size",) * (method != "dense")
        return Case("arguments", dict.fromkeys(left_out) | {"method": method} | flags)

    return st.one_of(
        st.builds(lambda flags: Case("arguments", flags), changed),
        st.builds(of_method, other_method, changed),
        st.builds(lambda path: Case("arguments", {"model_name_or_path": path}), st.sampled_from(paths)),
        st.builds(
            lambda path: Case(
                "arguments", {"dataset_name": path, "task_name": None, "train_file": None, "validation_file": None}
            ),
            st.sampled_from(paths),
        ),
    )


def json_cases(materials: Materials) -> st.SearchStrategy[Case]:
    """Return cases with a JSON file of flags, well-formed or not, instead of flags."""
    usual = {
        name: value if isinstance(value, (bool, int)) else str(value) for name, value in materials.usual().items()
    }
    # Not these, since large values would train long or start many processes or threads.
    names = sorted(FLAGS - {"max_steps", "num_train_epochs", "dataloader_num_workers", "cpu_threads"})
    changed = st.dictionaries(st.one_of(st.sampled_from(names), st.text(max_size=5)), JSON_VALUES, max_size=3)
    raw = st.one_of(
        st.sampled_from(
            [b"", b"{", b"[]", b"1", b"null", b'{"a": 1}', b"[" * 20_000, b'{"seed": NaN}', b"\xff\xfe{}"]
        ),
        st.binary(max_size=20),
        changed.map(lambda flags: json.dumps(usual | flags).encode("utf-16")),
        changed.map(lambda flags: json.dumps(usual | flags).encode()[:-3]),
    )
    good = changed.map(lambda flags: json.dumps(usual | flags).encode())
    content = st.one_of(good, good, good, raw)
    return st.builds(lambda c: Case("json", {}, {"job.json": c}, first=("job.json",), usual=False), content)


def data_cases(materials: Materials) -> st.SearchStrategy[Case]:
    """Return cases with a training, validation or test file of any content."""
    content = st.one_of(_tables(","), _tables("\t"), _json_lines())
    roles = st.sampled_from(["train_file", "train_file", "validation_file", "test_file"])

    def case(role: str, file: tuple[str, bytes], task: bool, both: bool) -> Case:
        suffix, data = file
        flags: dict[str, Any] = {role: f"data{suffix}"} | ({} if task else {"task_name": None})
        if role == "test_file":
            flags["do_predict"] = True
        if both:
            flags |= {"train_file": f"data{suffix}", "validation_file": f"data{suffix}"}
        return Case("data", flags, {f"data{suffix}": data})

    return st.builds(case, roles, content, st.booleans(), st.booleans())


KINDS: dict[str, Callable[[Materials], st.SearchStrategy[Case]]] = {
    "arguments": argument_cases,
    "data": data_cases,
    "adapters": adapter_cases,
    "checkpoints": checkpoint_cases,
    "json": json_cases,
}

_COLUMNS = ["sentence1", "sentence2", "label", "idx"]
_ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]


@st.composite
def _tables(draw: Callable, delimiter: str) -> tuple[str, bytes]:
    """Draw rows of sentence pairs in which columns are renamed and cells are replaced, or no table at all."""
    suffix = ".tsv" if delimiter == "\t" else ".csv"
    columns, rows = list(_COLUMNS), [[f"a cat {i}", "the dog", str(i % 2), str(i)] for i in range(6)]
    for index in draw(st.lists(st.integers(0, 3), max_size=2)):
        columns[index] = draw(
            st.one_of(st.sampled_from([*_COLUMNS, "", " label", "Label", "text", "é"]), cell_values())
        )
    for i, j in draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=4)):
        rows[i][j] = draw(cell_values())
    if draw(st.booleans()):
        column, values = draw(st.integers(0, 3)), draw(st.lists(cell_values(), min_size=1, max_size=3))
        for i, row in enumerate(rows):
            row[column] = values[i % len(values)]
    rows = rows[: draw(st.sampled_from([6, 6, 6, 1, 0]))]
    buffer = io.StringIO()
    if draw(st.booleans()):
        csv.writer(buffer, delimiter=delimiter).writerows([columns, *rows])
    else:  # unquoted, whatever stands in the cells
        buffer.write("\n".join(delimiter.join(row) for row in [columns, *rows]))
    return suffix, _spoiled(draw, buffer.getvalue())


@st.composite
def _json_lines(draw: Callable) -> tuple[str, bytes]:
    rows = [{"sentence1": f"a cat {i}", "sentence2": "the dog", "label": i % 2} for i in range(6)]
    for i, column in draw(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(_COLUMNS)), max_size=4)):
        rows[i][column] = draw(JSON_VALUES)
    if draw(st.booleans()):
        column, value = draw(st.sampled_from(_COLUMNS)), draw(JSON_VALUES)
        rows = [row | {column: value} for row in rows]
    as_list = draw(st.booleans())
    text = json.dumps(rows) if as_list else "\n".join(map(json.dumps, rows))
    return draw(st.sampled_from([".json", ".jsonl"])), _spoiled(draw, text)


def _spoiled(draw: Callable, text: str) -> bytes:
    content = text.encode(draw(st.sampled_from(_ENCODINGS)), errors="replace")
    if draw(st.integers(0, 4)) == 0:
        position = draw(st.integers(0, len(content)))
        content = content[:position] + draw(st.binary(max_size=6)) + content[position + draw(st.integers(0, 6)) :]
    return content
