"""The live output of a run: progress bars on a terminal, plain lines in a log, and the training loss in both."""

import shutil
import sys

import torch
from tqdm.auto import tqdm
from transformers.trainer_callback import ProgressCallback

# The work on a set of examples, by the prefix of its metrics' names.
MEASURING = {"eval": "evaluating", "train": "measuring on the training set", "predict": "predicting"}
_FORMAT = "{desc}: {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed} elapsed, {remaining} left, {rate_fmt}]"
_NAMES = {"grad_norm": "gradient norm", "learning_rate": "learning rate"}
_TIMINGS = ("_runtime", "_per_second")


class LiveOutput(ProgressCallback):
    """The Trainer's progress bars with our labels, and its logs as plain lines."""

    doing = "eval"  # the prefix of the metrics that are being measured; set by the Trainer

    def on_train_begin(self, args, state, control, model=None, train_dataloader=None, **kwargs) -> None:
        if args.logging_steps < 1:  # a fraction of all steps; rounded down, so that 1/20 gives at least 20 losses
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
        if state.is_world_process_zero:
            self.training_bar = _bar("training", state.max_steps, args.disable_tqdm, leave=True)
            self.training_bar.update(state.global_step)
        self.current_step = state.global_step

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs) -> None:
        if self.prediction_bar is None and state.is_world_process_zero:
            self.prediction_bar = _bar(MEASURING[self.doing], len(eval_dataloader), args.disable_tqdm, leave=False)
        super().on_prediction_step(args, state, control, eval_dataloader, **kwargs)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if "loss" in logs:
            when, shown = f"step {state.global_step:,} of {state.max_steps:,}, epoch {logs['epoch']:.2f}", logs
        elif "train_runtime" in logs:
            when, shown = f"trained for {logs['train_runtime']:.1f} s", {"mean loss": logs["train_loss"]}
        else:
            when = f"evaluation, epoch {logs.get('epoch') or 0:.2f}"
            shown = {name.removeprefix("eval_"): value for name, value in logs.items() if not name.endswith(_TIMINGS)}
        values = (
            f"{_NAMES.get(name, name)} {value:.4g}"
            for name, value in shown.items()
            if isinstance(value, (int, float)) and name not in ("epoch", "total_flos")
        )
        self.say(f"{when}: {', '.join(values)}")

    def say(self, line: str) -> None:
        """Print a line, above the progress bar if there is one. In a log it appears at once."""
        tqdm.write(line)
        sys.stdout.flush()


def _bar(label: str, total: int, disable: bool, leave: bool) -> tqdm:
    width = None if shutil.get_terminal_size((0, 0)).columns else 80  # without a known width tqdm draws no bar
    options = {"dynamic_ncols": width is None, "ncols": width, "bar_format": _FORMAT}
    return tqdm(desc=label, total=total, disable=disable, leave=leave, **options)
