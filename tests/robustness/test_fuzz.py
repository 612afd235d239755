"""Hostile input, drawn by hypothesis, and tests that its watch detects forbidden actions."""

import itertools

import pytest
from forked_run import preload
from fuzzing.cases import Case, flaw_of, make_materials
from fuzzing.strategies import KINDS
from hypothesis import HealthCheck, Phase, given, settings

CASES = {"arguments": 12, "data": 9, "adapters": 8, "checkpoints": 4, "json": 5}  # fuzz.py draws thousands


@pytest.fixture(scope="module")
def materials(tmp_path_factory):
    preload()
    return make_materials(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_ends_in_one_line_or_well(kind, materials, tmp_path):
    numbers = itertools.count()

    @settings(
        max_examples=CASES[kind],
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # shrinking takes minutes; the cases are small as they are
        suppress_health_check=list(HealthCheck),
    )
    @given(KINDS[kind](materials))
    def holds(case):
        flaw = flaw_of(case, materials, tmp_path / str(next(numbers)))
        assert flaw is None, f"{flaw}\n{case.shown(materials)}"

    holds()


@pytest.mark.parametrize(
    "flags, seen",
    [
        ({"model_name_or_path": "code", "trust_remote_code": "True"}, "os.mkdir"),  # of modules made of the code
        ({"prefix_cache_dir": "elsewhere", "adapter_layers": "1", "cache_frozen_prefix": "True"}, "elsewhere"),
        ({"output_dir": "elsewhere"}, "elsewhere"),
    ],
)
def test_the_watch_sees_what_is_done_outside_of_the_folders(flags, seen, materials, tmp_path):
    flags = {name: str(materials.hostile.get(value, value)) for name, value in flags.items()}
    flaw = flaw_of(Case("", flags), materials, tmp_path / "case")
    assert flaw.startswith("outside of its folders") and seen in flaw
