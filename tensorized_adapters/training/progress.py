"""What a run says while it goes on: bars on a terminal, plain lines in a log, and the training loss in both."""

import json
import math
import shutil
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback

from ..runtime.distributed import is_main_process

# What a bar over a set of examples is about, by the prefix of its metrics' names.
_BARS = {"eval": "evaluating", "train": "measuring on the training set", "predict": "predicting"}
_FORMAT = "{desc}: {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed} gone, {remaining} left, {rate_fmt}]"
_NAMES = {"grad_norm": "gradient norm", "learning_rate": "learning rate"}
_TIMINGS = ("_runtime", "_per_second")


class TrainingTime:
    """Seconds of training over all starts of a run; each checkpoint keeps those that led to it.

    Attributes:
        before: the seconds before this start.
    """

    def __init__(self):
        self.before = 0.0
        self._began = time.time()

    def begin(self) -> None:
        self._began = time.time()

    def total(self) -> float:
        return round(self.before + time.time() - self._began, 3)

    def resume(self, path: Path) -> None:
        """Take over the seconds of a checkpoint's file; checkpoints of earlier versions have none, and count as 0."""
        value = json.loads(path.read_text()) if path.is_file() else 0.0
        self.before = float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else 0.0


class LiveOutput(TrainerCallback):
    """In the place of the Trainer's own progress bar or printer.

    Attributes:
        doing: the prefix of the metrics of what is being evaluated; set by the Trainer.
    """

    doing = "eval"

    def __init__(self):
        self._training: tqdm | None = None
        self._evaluation: tqdm | None = None

    def on_train_begin(self, args, state, control, model=None, train_dataloader=None, **kwargs) -> None:
        if args.logging_steps < 1:  # a fraction; rounded down, so that twenty losses are twenty at least
            state.logging_steps = max(1, int(state.max_steps * args.logging_steps))
        count = torch.get_num_threads()
        threads = f" ({count} thread{'s' * (count > 1)})" if args.device.type == "cpu" else ""
        threads += f" in {args.world_size} processes" if args.world_size > 1 else ""
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        begin = f", from step {state.global_step:,} on" if state.global_step else ""
        self.say(
            f"training {model.name_or_path or model.config.model_type} on {args.device}{threads}: "
            f"{len(train_dataloader.dataset):,} examples, {state.max_steps:,} steps of {batch}{begin}"
        )
        if not args.disable_tqdm and is_main_process():
            self._training = _bar("training", state.max_steps, leave=True)
            self._training.update(state.global_step)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self._training is not None:
            self._training.update(state.global_step - self._training.n)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if self._training is not None:
            self._training.close()
            self._training = None

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs) -> None:
        if self._evaluation is None and not args.disable_tqdm and is_main_process():
            self._evaluation = _bar(_BARS[self.doing], len(eval_dataloader), leave=False)
        if self._evaluation is not None:
            self._evaluation.update()

    def on_evaluate(self, args, state, control, **kwargs) -> None:
        if self._evaluation is not None:
            self._evaluation.close()
            self._evaluation = None

    on_predict = on_evaluate

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if "loss" in logs:
            place, shown = f"step {state.global_step:,} of {state.max_steps:,}, epoch {logs['epoch']:.2f}", logs
        elif "train_runtime" in logs:
            place, shown = f"trained for {logs['train_runtime']:.1f} s", {"mean loss": logs["train_loss"]}
        else:
            place = f"evaluation, epoch {logs.get('epoch') or 0:.2f}"
            shown = {name.removeprefix("eval_"): value for name, value in logs.items() if not name.endswith(_TIMINGS)}
        values = (f"{_NAMES.get(name, name)} {value:.4g}" for name, value in shown.items() if _is_told(name, value))
        self.say(f"{place}: {', '.join(values)}")

    def say(self, line: str) -> None:
        """Above the bar where there is one; in a log at once, for whoever follows it."""
        if self._training is not None:
            self._training.write(line)
        else:
            print(line, flush=True)


def _bar(what: str, total: int, leave: bool) -> tqdm:
    width = None if shutil.get_terminal_size((0, 0)).columns else 80  # a terminal that tells no width would get no bar
    return tqdm(desc=what, total=total, leave=leave, dynamic_ncols=width is None, ncols=width, bar_format=_FORMAT)


def _is_told(name: str, value: object) -> bool:
    return isinstance(value, (int, float)) and name not in ("epoch", "total_flos")
