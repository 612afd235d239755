"""One run from checked arguments to results: the order of Hugging Face's run_glue, and what may start where."""

import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

import torch
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from .arguments import Arguments, check_owned, resolve_rates
from .checkpoint import read_adapter, save_adapter
from .config import AdapterConfig
from .data import Data, load_data
from .errors import RunFailed, Terminated, UsageError
from .files import sha256_of, write_json
from .measure import evaluate_all, predict_all, train_metrics
from .methods import check_model_config, parameter_groups
from .pretrained import EncodedData, build_model, encoded, load_config, load_tokenizer
from .results import best_of, console, history_of, new_record, parameter_table, peak_memory, results_table
from .run_folder import ADAPTER_FOLDER, RECORD_FILE, RESULTS_FILE, RunFolder, Start, flaw_of_checkpoint, inspect_folder
from .surgery import adapters_of
from .trainer import AdapterTrainer, new_trainer


def run(arguments: Arguments, argv: list[str]) -> None:
    """Do what the arguments say, or go on with it, or find it done.

    Raises:
        UsageError: refused, before anything is written or trained.
        RunFailed: NaN, or out of memory.
        Terminated: on SIGTERM.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # of loading weights; training keeps its own
    training = arguments.training
    config, saved = _settings(arguments)
    resolved = _resolved(arguments, config, saved)

    path, explicit = Path(training.output_dir), training.resume_from_checkpoint
    start = inspect_folder(path, resolved, arguments.run.overwrite_output_dir, explicit is not None)
    if start.kind == "finished":
        print(f"{path} holds this run, finished; nothing to do")
        _print_results(start.record, path)
        return
    if explicit and explicit.lower() != "true" and (flaw := flaw_of_checkpoint(Path(explicit))):
        raise UsageError(f"--resume_from_checkpoint {explicit} is not a whole checkpoint: {flaw}")
    # Equal bits need equal counts of threads: a resumed run takes that of the start.
    threads = arguments.run.cpu_threads or (start.record or {}).get("threads") or torch.get_num_threads()
    torch.set_num_threads(threads)

    signal.signal(signal.SIGTERM, _raise_terminated)
    with RunFolder(path) as folder:
        model_config = load_config(arguments.model)
        check_model_config(config, model_config)
        tokenizer = load_tokenizer(arguments.model, model_config)
        actions = {"train": training.do_train, "evaluation": training.do_eval, "prediction": training.do_predict}
        data = load_data(arguments.data, {part for part, wanted in actions.items() if wanted}, saved)
        set_seed(training.seed)
        model = build_model(arguments, model_config, config, data, resolved["head_start"])

        # Nothing was written up to here, and nothing is refused from here on.
        if arguments.run.overwrite_output_dir:
            folder.clear()
        checkpoint = _checkpoint(folder, start, arguments)
        record = new_record(argv, resolved, arguments.given, training.seed) | {
            "threads": threads,
            "method": config.describe(),
            "task": arguments.data.task_name or arguments.data.dataset_name or arguments.data.train_file,
            "primary_metric": data.task.primary,
            "resumed_from": str(checkpoint) if checkpoint else None,
            "parameters": parameter_groups(model),
            "learning_rates": resolved["learning_rates"],
            "learning_rate_scales": [
                s for _, adapter in adapters_of(model) for _, s in adapter.learning_rate_scales()
            ],
        }
        folder.write_record(record)
        console().print(parameter_table(record["parameters"], record["learning_rates"], config.describe()))
        began = time.time()
        try:
            sets = encoded(data, tokenizer, model_config, arguments.data)
            notes = {"task": record["task"], "seed": training.seed}
            rates = resolved["learning_rates"]
            trainer = new_trainer(model, training, arguments.data, tokenizer, sets, data.task, rates, notes)
            _train_and_measure(trainer, sets, data, folder.path, record, checkpoint)
        except BaseException as error:
            record["status"] = "interrupted" if isinstance(error, (KeyboardInterrupt, Terminated)) else "failed"
            record["reason"] = " ".join(str(error).split())[:500] or type(error).__name__
            folder.write_record(record)
            if _out_of_memory(error):
                advice = "try a smaller --per_device_train_batch_size or --max_seq_length"
                raise RunFailed(f"out of memory: {advice}; the checkpoints are kept") from None
            raise
        record["seconds"] = round(time.time() - began, 3)
        record["ended"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        record["status"] = "finished"
        folder.write_record(record)
        _print_results(record, path)


def _settings(arguments: Arguments) -> tuple[AdapterConfig, Optional[dict[str, Any]]]:
    """The method's settings: from the flags, or from ``--adapter_path``, whose verified record comes second."""
    if not arguments.run.adapter_path:
        return arguments.adapter, None
    saved, _ = read_adapter(arguments.run.adapter_path)
    config = AdapterConfig.from_dict(saved["adapter"])
    check_owned(arguments.given, config)
    for name, value in config.to_dict().items():
        if arguments.given.get(name, value) != value:
            raise UsageError(f"--{name} {arguments.given[name]} contradicts --adapter_path, which has {value}")
    return config, saved


def _resolved(arguments: Arguments, config: AdapterConfig, saved: Optional[dict[str, Any]]) -> dict[str, Any]:
    """Every argument with its value, flat, for the record; two runs are the same if these agree."""
    data, training = arguments.data, arguments.training
    groups = (asdict(arguments.model), asdict(data), config.to_dict(), asdict(arguments.run), training.to_dict())
    resolved = {name: value for group in groups for name, value in group.items() if "token" not in name.split("_")}
    resolved["head_start"] = arguments.run.head_start or ("label_prior" if config.calibrated else "random")
    resolved["learning_rates"] = resolve_rates(arguments, config)
    files = [data.train_file, data.validation_file, data.test_file if training.do_predict else None]
    resolved["input_sha256"] = {path: sha256_of(Path(path)) for path in files if path}
    if saved:
        resolved["adapter_sha256"] = saved["weights_sha256"]
    return resolved


def _checkpoint(folder: RunFolder, start: Start, arguments: Arguments) -> Optional[Path]:
    """The checkpoint to go on from, or None."""
    explicit = arguments.training.resume_from_checkpoint
    if explicit and explicit.lower() != "true":
        return Path(explicit)
    if start.kind != "resume" or not arguments.training.do_train:
        return None
    checkpoint, notes = folder.newest_whole_checkpoint()
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"going on from {checkpoint}" if checkpoint else "no whole checkpoint yet: starting from zero")
    return checkpoint


def _train_and_measure(
    trainer: AdapterTrainer, sets: EncodedData, data: Data, folder: Path, record: dict, checkpoint: Optional[Path]
) -> None:
    """Train, save the adapter, measure those very weights; everything lands in ``record`` and the results file."""
    training, task = trainer.args, data.task
    metrics: dict[str, Any] = {}
    if training.do_train:
        began = time.time()
        output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        record["train_seconds"] = round(time.time() - began, 3)
        record["step_losses"] = trainer.step_losses
        save_adapter(trainer.model, folder / ADAPTER_FOLDER, trainer.notes)
        metrics |= {
            "epoch": trainer.state.epoch,
            "train_loss": sum(trainer.step_losses) / len(trainer.step_losses),
            "train_samples": len(sets.train),
            "train_runtime": output.metrics["train_runtime"],
            "train_samples_per_second": output.metrics["train_samples_per_second"],
        }
        metrics |= train_metrics(trainer, sets.train, task)
        record["history"] = history_of(trainer.state.log_history)
        record["best_epoch"] = best_of(record["history"], task)
        record["adapter_bytes"] = sum(file.stat().st_size for file in (folder / ADAPTER_FOLDER).iterdir())
    if training.do_eval:
        metrics |= evaluate_all(trainer, sets.evaluation, task, folder)
    if training.do_predict:
        metrics |= predict_all(trainer, sets.prediction, task, folder)
    record["metrics"] = metrics
    record["peak_memory_bytes"] = peak_memory()
    write_json(folder / RESULTS_FILE, metrics)


def _print_results(record: dict[str, Any], path: Path) -> None:
    console().print(results_table(record))
    print(f"record: {path / RECORD_FILE}")


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _raise_terminated(*_) -> None:
    raise Terminated()
