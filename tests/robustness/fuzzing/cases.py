"""A case: a command with hostile input. It runs in a process of its own, watched, and is judged."""

import os
import resource
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from faults.fixture import Inputs, make_inputs, write_pairs
from faults.injections import killed_after_seals
from forked_run import Child, Ending, changed_paths

_SECONDS = 30
_BYTES = 12 * 2**30  # limit of the address space, so that an absurd size does not stop the machine
_MARKER = "ran_foreign_code"
_REPOSITORY_CODE = f"open({_MARKER!r}, 'w').close()\n"


@dataclass
class Case:
    """A command and its files.

    Attributes:
        kind: of its strategy.
        flags: what differs from the usual command; None leaves a flag out.
        files: contents by path, written into the case's folder, which is the process's working directory.
        copies: folders of the materials that are copied there before.
        first: words before the flags.
    """

    kind: str
    flags: dict[str, Optional[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    copies: dict[str, Path] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    usual: bool = True  # whether the usual flags are on the command line, or elsewhere

    def words(self, materials: "Materials") -> list[str]:
        flags = (materials.usual() if self.usual else {}) | self.flags
        return [*self.first, *(f"--{name}={value}" for name, value in flags.items() if value is not None)]

    def write(self, folder: Path) -> None:
        """Make the case's folder, with its files."""
        folder.mkdir(parents=True)
        for name, source in self.copies.items():
            shutil.copytree(source, folder / name)
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def shown(self, materials: "Materials") -> str:
        """Return the command for a shell, and the beginning of each file."""
        files = "".join(f"\n  {name}: {content[:300]!r}" for name, content in self.files.items())
        return f"run_glue_tensorized.py {shlex.join(self.words(materials))}{files}"


@dataclass
class Materials:
    """What all cases share. It is made once and only read.

    Attributes:
        adapter: a saved adapter's folder.
        half: a run's folder with two checkpoints, whose process was killed.
        hostile: folders of models and data sets that contain code.
        cache: where `datasets` may write.
    """

    folder: Path
    inputs: Inputs
    adapter: Path
    half: Path
    hostile: dict[str, Path]
    cache: Path

    def usual(self) -> dict[str, Any]:
        """Return the flags of a command that works, of two steps."""
        inputs = self.inputs
        return {
            "model_name_or_path": inputs.base,
            "task_name": "mrpc",
            "train_file": inputs.train,
            "validation_file": inputs.validation,
            "do_train": True,
            "do_eval": True,
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "adapter_projection_type": "cp",
            "tensorized_layer_rank": 2,
            "adapter_size": 8,
            "cpu_threads": 1,
            "disable_tqdm": True,
            "save_strategy": "no",
            "output_dir": "out",
        }

    def resumed(self) -> dict[str, Any]:
        """Return the flags of the half run that differ from the usual ones."""
        return {"max_steps": 3, "save_strategy": "steps", "save_steps": 1}


def make_materials(folder: Path) -> Materials:
    """Train the adapter and kill the half run; the model and the data are those of the fault matrix."""
    folder = folder.resolve()
    inputs = make_inputs(folder / "inputs")
    write_pairs(inputs.train, 8, 1)
    write_pairs(inputs.validation, 4, 2)
    materials = Materials(
        folder, inputs, folder / "out/adapter", folder / "half", _hostile(folder, inputs), folder / "c"
    )
    materials.cache.mkdir()
    words = Case("", {"output_dir": str(folder / "out")}).words(materials)
    half = Case("", materials.resumed() | {"output_dir": str(materials.half)}).words(materials)
    ending = Child(words, folder / "log").wait()
    killed = Child(half, folder / "log-half", killed_after_seals(materials.half, 2)).wait()
    if ending.code or killed.code != -9:
        raise RuntimeError(f"the usual command does not work: {ending.err} {killed.err}")
    return materials


def flaw_of(case: Case, materials: Materials, folder: Path) -> Optional[str]:
    """Run a case in ``folder``, which must not exist; return what is wrong with its ending, or None."""
    case.write(folder)
    log = folder.with_name("logs") / folder.name
    log.mkdir(parents=True)
    notes = log / "notes"
    notes.write_text("")
    ending = Child(case.words(materials), log, _watched(case, folder, materials, notes)).wait(_SECONDS)
    if seen := notes.read_text().splitlines():
        return seen[0]
    if any(folder.rglob(_MARKER)):
        return "foreign code was run"
    return _flaw(ending)


def _flaw(ending: Ending) -> Optional[str]:
    if ending.traceback:  # its origin distinguishes causes
        lines = ending.err.strip().splitlines()
        ours = [line.strip() for line in lines if "tensorized_adapters/" in line or "run_glue_tensorized" in line]
        where = ours[-1].split("/")[-1].replace('"', "") if ours else ""
        error = next(line for line in reversed(lines) if line and not line.startswith(" "))
        return f"a traceback: {error[:200]} [{where}]"
    return ending.flaw(0, 1, 2)


def _watched(case: Case, folder: Path, materials: Materials, notes: Path) -> Callable[[], None]:
    """Return a function for the process. It prevents and notes what no input may cause."""
    allowed = [
        str(path) for path in (folder / "out", folder / "cache", folder / "home", folder / "tmp", materials.cache)
    ]
    allowed.append(os.devnull)
    inputs = []
    if not case.usual:  # a job file chooses its output folder itself, or leaves it out: "trainer_output"
        allowed.append(str(folder))
        inputs = [str(folder / name) for name in case.files]

    def hook(event: str, arguments: tuple) -> None:
        what = None
        if event in ("socket.connect", "socket.getaddrinfo"):
            what = f"the network: {event} {arguments[-1]}"
        elif event == "pickle.find_class":
            what = f"unpickled: {arguments[0]}.{arguments[1]}"
        else:
            changed = changed_paths(event, arguments)
            outside = [path for path in changed if not _below(path, allowed) or _below(path, inputs)]
            if outside:
                what = f"outside of its folders: {event} {outside[0]}"
        if what:
            os.write(opened, (what.replace("\n", " ") + "\n").encode(errors="backslashreplace"))
            raise PermissionError(1, what, "watched")

    def prepare() -> None:
        nonlocal opened
        import datasets.config
        import evaluate.config

        opened = os.open(notes, os.O_WRONLY | os.O_APPEND)
        for name in ("home", "tmp"):
            (folder / name).mkdir()
        os.environ["HOME"] = str(folder / "home")
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder / "tmp")
        datasets.config.HF_DATASETS_CACHE = evaluate.config.HF_METRICS_CACHE = materials.cache
        os.chdir(folder)
        sys.dont_write_bytecode = True
        resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
        sys.addaudithook(hook)

    opened = -1
    return prepare


def _below(path: str, roots: list[str]) -> bool:
    return any(path == root or path.startswith(root + os.sep) for root in roots)


class _Exploit:
    """Opens a file when it is unpickled."""

    def __reduce__(self):
        return open, (_MARKER, "w")


def _hostile(folder: Path, inputs: Inputs) -> dict[str, Path]:
    """Make models whose repository contains code or a pickle that runs code, and a data set with a loading script."""
    import json

    import torch

    folders = {name: folder / "hostile" / name for name in ("code", "pickle", "script")}
    for name in ("code", "pickle"):
        shutil.copytree(inputs.base, folders[name])
    config = json.loads((inputs.base / "config.json").read_text())
    names = {
        "AutoConfig": "own.Own",
        "AutoModelForSequenceClassification": "own.Own",
        "AutoTokenizer": ["own.Own", None],
    }
    (folders["code"] / "own.py").write_text(_REPOSITORY_CODE)
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folders["code"] / name).read_text())
        (folders["code"] / name).write_text(json.dumps(content | {"auto_map": names, "model_type": "own"}))
    (folders["pickle"] / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": _Exploit()}, folders["pickle"] / "pytorch_model.bin")
    folders["script"].mkdir()
    (folders["script"] / "script.py").write_text(_REPOSITORY_CODE)
    folders["map"] = shutil.copytree(inputs.base, folder / "hostile" / "map")
    (folders["map"] / "own.py").write_text(_REPOSITORY_CODE)
    (folders["map"] / "config.json").write_text(json.dumps(config | {"auto_map": names}))
    return folders
