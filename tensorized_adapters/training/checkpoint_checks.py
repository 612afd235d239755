"""The training state in a checkpoint, checked against the training that is to go on from it.

A checkpoint's manifest says that its files are those that were sealed, not that they hold what the Trainer reads from
them without looking. Everything is refused here, in one line, before anything is written.
"""

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Optional

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from transformers import TrainerControl, TrainerState

from ..errors import UsageError, quoted
from ..runtime.files import open_regular
from .checkpoints import GRADIENT_NORMS_FILE, STEP_LOSSES_FILE, checkpoint_at, flaw_of_checkpoint
from .early_stopping import EarlyStopping

STATE_FILE, OPTIMIZER_FILE, SCHEDULER_FILE = "trainer_state.json", "optimizer.pt", "scheduler.pt"
SCALER_FILE, RANDOM_FILE = "scaler.pt", "rng_state.pth"

# What the Trainer counts and compares with; the other fields it overwrites, or never reads.
_STEPS = ("global_step", "train_batch_size")
_EVERY = ("logging_steps", "eval_steps", "save_steps")
_NUMBERS = ("epoch", "total_flos", "num_input_tokens_seen")


def refuse(path: Path, why: str) -> NoReturn:
    """Raise UsageError about a file of a checkpoint."""
    raise UsageError(
        f"{path} {why}: no training goes on from it; remove this checkpoint, or name another one with "
        "--resume_from_checkpoint"
    )


def read_trainer_state(checkpoint: Path, max_steps: int) -> TrainerState:
    """The Trainer's own state.

    Args:
        max_steps: how long the training is that is to go on.

    Raises:
        UsageError: if it is not what the Trainer writes, or training would be over before that step.
    """
    path = checkpoint / STATE_FILE
    values = _read_json(path, dict)
    if odd := sorted(values.keys() ^ TrainerState.__dataclass_fields__.keys()):
        refuse(path, f"{'has an unknown' if odd[0] in values else 'lacks the'} field {quoted(odd[0])}")
    state = {name: values[name] for name in (*_STEPS, *_EVERY, *_NUMBERS)}
    for name, value in state.items():
        whole = name in _STEPS
        lowest = 0 if name in _NUMBERS else 1
        if not _is_number(value) or value < lowest or (whole and not isinstance(value, int)):
            refuse(path, f"has {name} {quoted(value)}")
    step, best, folder = values["global_step"], values["best_global_step"], values["best_model_checkpoint"]
    if best is not None and not (isinstance(best, int) and 0 < best <= step):
        refuse(path, f"has best_global_step {quoted(best)}")
    if not isinstance(folder, str | None) or not (values["best_metric"] is None or _is_number(values["best_metric"])):
        refuse(path, "does not say which checkpoint is the best one")
    history = values["log_history"]
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        refuse(path, "has no log_history")
    if not all(_is_number(n) for entry in history for key, n in entry.items() if key.startswith("eval_")):
        refuse(path, "has an evaluation in its log_history that is not of numbers")
    callbacks = {"TrainerControl": TrainerControl().state()}
    if isinstance(values["stateful_callbacks"], dict) and EarlyStopping.__name__ in values["stateful_callbacks"]:
        callbacks[EarlyStopping.__name__] = EarlyStopping().state()
    if difference := _difference(values["stateful_callbacks"], callbacks):
        refuse(path, f"has other stateful_callbacks ({difference})")
    if step > max_steps:
        raise UsageError(
            f"{checkpoint} is of step {step}, and this training ends at step {max_steps}; raise --num_train_epochs or "
            "--max_steps, or evaluate it with --adapter_path"
        )
    return TrainerState(**values)


def read_step_losses(checkpoint: Path, steps: Optional[int] = None) -> list[float]:
    """The loss of every step so far, of which there must be ``steps``; raises UsageError."""
    path = checkpoint / STEP_LOSSES_FILE
    losses = _read_json(path, list)
    if not all(_is_number(loss) for loss in losses) or len(losses) != (len(losses) if steps is None else steps):
        refuse(path, f"does not hold one loss for each step{f' of {steps}' if steps else ''}")
    return losses


def read_gradient_norms(checkpoint: Path) -> list[float]:
    """The gradient norm of every step so far; none if the checkpoint keeps none. Raises UsageError."""
    path = checkpoint / GRADIENT_NORMS_FILE
    norms = _read_json(path, list) if path.is_file() else []
    if not all(map(_is_number, norms)):
        refuse(path, "does not hold norms")
    return norms


def best_checkpoint(checkpoint: Path, state: TrainerState) -> Path:
    """The checkpoint that was the best when ``checkpoint`` was saved: beside it, wherever that is now.

    Raises:
        UsageError: if it is not there, or not whole.
    """
    if state.best_global_step == state.global_step:
        return checkpoint
    best = checkpoint_at(checkpoint.parent, state.best_global_step)
    if flaw := flaw_of_checkpoint(best):
        raise UsageError(
            f"the best checkpoint so far, {best}, is not whole ({flaw}); leave --load_best_model_at_end out, or start "
            "the run anew"
        )
    return best


def check_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer, fresh: Callable[[list], Any]) -> None:
    """Compare the saved optimizer with the one that training starts with.

    Args:
        optimizer: that one, of the parameters that the checkpoint's adapter has.
        fresh: makes another one of the same kind, for given parameter groups.

    Raises:
        UsageError: if it does not fit, or is another kind's.
    """
    path = checkpoint / OPTIMIZER_FILE
    found, ours = load_tensors(path), optimizer.state_dict()["param_groups"]
    groups, states = found.get("param_groups"), found.get("state")
    if not isinstance(groups, list) or not all(isinstance(g, dict) for g in groups) or not isinstance(states, dict):
        refuse(path, "does not hold an optimizer's state")
    if [group.get("params") for group in groups] != [group["params"] for group in ours]:
        refuse(path, "is of other parameters")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if states.keys() - range(len(parameters)):
        refuse(path, "holds more than the state of these parameters")
    for theirs, group in zip(groups, ours):
        flags = {name: value for name, value in group.items() if isinstance(value, bool | None)}
        if (
            _difference({name: theirs.get(name) for name in group}, group)
            or any(theirs[name] is not value for name, value in flags.items())
            or not all(_can_step(parameters[i], theirs, states.get(i), fresh) for i in group["params"])
        ):
            raise UsageError(
                f"{checkpoint} was saved with another --optim, or its {OPTIMIZER_FILE} is damaged; use that one, or "
                "start from it with --adapter_path"
            )


def check_state(path: Path, ours: dict[str, Any], steps: int) -> None:
    """Compare a saved state, of a schedule or a scaler, with that of a new one, at most ``steps`` of which were
    taken; raises UsageError."""
    found = load_tensors(path)
    if difference := _difference(found, ours):
        refuse(path, f"does not fit this training ({difference})")
    if not 0 <= found.get("last_epoch", 0) <= steps:
        refuse(path, f"is not of step {steps}")


def check_random_state(checkpoint: Path, load: Callable[[str], None]) -> None:
    """Try whether ``load``, which sets the random state from a checkpoint, can do so; raises UsageError."""
    states, numbers = random.getstate(), np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what is refused below, and about several GPUs
            with torch.random.fork_rng():
                load(str(checkpoint))
    except Exception as error:  # of whatever kind: what it holds may be anything
        refuse(checkpoint / RANDOM_FILE, f"holds no random state ({type(error).__name__})")
    finally:
        random.setstate(states)
        np.random.set_state(numbers)


def read_search_state(path: Path, ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Diff pruning's dense search, of the names and shapes of ``ours``; raises UsageError."""
    try:
        found = safetensors.torch.load_file(path)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        refuse(path, f"cannot be read ({type(error).__name__})")
    if difference := _difference(found, ours):
        refuse(path, f"does not fit this model ({difference})")
    if not all(tensor.isfinite().all() for tensor in found.values()):
        refuse(path, "holds NaN or infinity")
    return found


def load_tensors(path: Path) -> dict[Any, Any]:
    """A dictionary that ``torch.save`` wrote; nothing in it is executed. Raises UsageError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip files, pickles and tensors have a hundred ways to be damaged
        refuse(path, f"cannot be read ({type(error).__name__})")
    if not isinstance(content, dict):
        refuse(path, "does not hold a dictionary")
    return content


def _can_step(parameter: Tensor, group: dict[str, Any], state: Any, fresh: Callable[[list], Any]) -> bool:
    """Whether an optimizer goes on from this state of a parameter, tried on one of its shape. No state is fine: none
    is kept where there never was a gradient."""
    alone = torch.nn.Parameter(torch.zeros_like(parameter))
    alone.grad = torch.zeros_like(parameter)
    try:
        optimizer = fresh([{"params": [alone]}])
        optimizer.step()
    except Exception:  # one that wants more than that before it steps: it cannot be tried
        return True
    if state is not None and _difference(state, optimizer.state_dict()["state"].get(0, {})):
        return False
    try:
        kept = {} if state is None else {0: state}
        optimizer.load_state_dict({"state": kept, "param_groups": [group | {"params": [0]}]})
        optimizer.step()
    except Exception:  # of any kind, by what is odd
        return False
    return True


def _difference(found: Any, expected: Any, place: str = "its kind") -> str:
    """Where the first value stands that is not of the expected kind, or an empty text."""
    if isinstance(expected, Tensor) and expected.ndim:
        same = isinstance(found, Tensor) and found.shape == expected.shape
        return "" if same and found.dtype.is_floating_point == expected.dtype.is_floating_point else place
    if isinstance(expected, dict):
        if not isinstance(found, dict) or found.keys() != expected.keys():
            return place
        return next((d for key in expected if (d := _difference(found[key], expected[key], str(key)))), "")
    if isinstance(expected, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            return place
        return next((d for pair in zip(found, expected) if (d := _difference(*pair, place))), "")
    if isinstance(expected, Tensor | int | float) and not isinstance(expected, bool):
        number = found.numel() == 1 if isinstance(found, Tensor) else isinstance(found, int | float)
        return "" if number and not isinstance(found, bool) else place
    return "" if type(found) is type(expected) and (isinstance(expected, bool) or found == expected) else place


def _read_json(path: Path, kind: type) -> Any:
    try:
        with open_regular(path) as file:
            value = json.load(file)
    except (OSError, ValueError, RecursionError):
        refuse(path, "cannot be read")
    if not isinstance(value, kind):
        refuse(path, f"does not hold {'an object' if kind is dict else 'a list'}")
    return value


def _is_number(value: Any) -> bool:
    """A finite one; JSON knows integers that are no float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
