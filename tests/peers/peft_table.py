"""Prints the table of docs/methods.md: the types of the installed peft that work as --method peft, and why others do
not.

python tests/peers/peft_table.py
"""

import sys
import tempfile
import traceback
import warnings
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING  # noqa: E402
from peft_cases import LORA, config_of, life  # noqa: E402

from tensorized_adapters import UsageError  # noqa: E402

NOTES = dict.fromkeys(("`psoft`", "`lora`, PiSSA", "`lora`, OLoRA"), "not on a base in float64")
NOTES["`adamss`"] = "loads only on a base in the precision of its training"


def row(name: str, kind: str, **settings) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = life(config_of(kind, **settings), folder)
        except UsageError as error:
            return f"| {name} | refused | | | {str(error).partition(': ')[2].removesuffix('; choose another')} |"
        except Exception as error:
            if "-v" in sys.argv:
                traceback.print_exc()
            return f"| {name} | fails | | | {type(error).__name__}: {str(error)[:100]} |"
    wrong = [each for each in ("trained", "independent", "loaded", "off", "removed") if not found[each]]
    yes = {True: "yes", False: "no"}
    state = f"not {', '.join(wrong)}" if wrong else "works"
    note = f"{NOTES[name]} " if name in NOTES else ""
    return f"| {name} | {state} | {yes[found['peft']]} | {yes[found['merged']]} | {note}|"


def main() -> None:
    warnings.simplefilter("ignore")
    print(f"peft {version('peft')}\n")
    print("| `--peft_type` | | PEFT loads it | merges | |\n|---|---|---|---|---|")
    for kind in sorted(each.value.lower() for each in PEFT_TYPE_TO_CONFIG_MAPPING):
        print(row(f"`{kind}`", kind), flush=True)
    for name, settings in LORA.items():
        print(row(f"`lora`, {name}", "lora", **settings), flush=True)


if __name__ == "__main__":
    main()
