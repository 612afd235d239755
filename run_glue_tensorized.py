"""Fine-tune a frozen pre-trained BERT on a GLUE task with CP, Tucker, Tensor-Train or Tensor-Ring adapters.

Flags are those of Hugging Face's run_glue and TrainingArguments, plus ours. A JSON file of the same names can come
first; flags after it win.
"""

import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

# Before the libraries that read them. Tokenisation is cached and short; its threads would only make forks warn.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tensorized_adapters.arguments import Arguments, check_owned, parse_arguments, resolve_rates  # noqa: E402
from tensorized_adapters.errors import RunFailed, UsageError  # noqa: E402


class Terminated(BaseException):
    """SIGTERM, as an exception, so that files are closed and the record says so."""


def main(argv: list[str]) -> int:
    """Run the job; returns the exit code: 0 done, 2 refused, 1 failed, 130 or 143 interrupted."""
    try:
        arguments = parse_arguments(argv)
        for note in arguments.notes:
            print(f"note: {note}", file=sys.stderr)
        return run(arguments, argv)
    except UsageError as error:
        return _say("error", error, 2)
    except RunFailed as error:
        return _say("failed", error, 1)
    except KeyboardInterrupt:
        return _say("interrupted", "the same command goes on from the newest checkpoint", 130)
    except Terminated:
        return _say("terminated", "the same command goes on from the newest checkpoint", 143)


def run(arguments: Arguments, argv: list[str]) -> int:
    # Imported here: a typo in a flag is answered without them.
    import torch
    from transformers.utils import logging as transformers_logging

    from tensorized_adapters.checkpoint import read_adapter
    from tensorized_adapters.config import AdapterConfig
    from tensorized_adapters.files import sha256_of
    from tensorized_adapters.run_folder import RunFolder, flaw_of_checkpoint, inspect_folder

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # of loading weights; training keeps its own
    data, run_arguments, training = arguments.data, arguments.run, arguments.training
    saved = None
    if run_arguments.adapter_path:
        saved, _ = read_adapter(run_arguments.adapter_path)
        config = AdapterConfig.from_dict(saved["adapter"])
        check_owned(arguments.given, config)
        for name, value in config.to_dict().items():
            if arguments.given.get(name, value) != value:
                raise UsageError(f"--{name} {arguments.given[name]} contradicts --adapter_path, which has {value}")
    else:
        config = arguments.adapter

    resolved = asdict(arguments.model) | asdict(data) | config.to_dict() | asdict(run_arguments) | training.to_dict()
    resolved["head_start"] = run_arguments.head_start or ("label_prior" if config.calibrated else "random")
    resolved["learning_rates"] = resolve_rates(arguments, config)
    inputs = [data.train_file, data.validation_file, data.test_file if training.do_predict else None]
    resolved["input_sha256"] = {path: sha256_of(Path(path)) for path in inputs if path}
    if saved:
        resolved["adapter_sha256"] = saved["weights_sha256"]
    resolved.pop("token", None), resolved.pop("hub_token", None)

    path = Path(training.output_dir)
    start = inspect_folder(
        path, resolved, run_arguments.overwrite_output_dir, training.resume_from_checkpoint is not None
    )
    if start.kind == "finished":
        print(f"{path} holds this run, finished; nothing to do")
        _print_results(start.record, path)
        return 0
    explicit = training.resume_from_checkpoint
    if explicit and explicit.lower() != "true" and (flaw := flaw_of_checkpoint(Path(explicit))):
        raise UsageError(f"--resume_from_checkpoint {explicit} is not a whole checkpoint: {flaw}")
    threads = run_arguments.cpu_threads or (start.record or {}).get("threads") or torch.get_num_threads()
    torch.set_num_threads(threads)  # equal bits need equal counts: a resumed run takes that of the start

    signal.signal(signal.SIGTERM, _raise_terminated)
    with RunFolder(path) as folder:
        job = Job(arguments, config, saved, resolved)
        return job.execute(folder, start, argv, threads)


class Job:
    """One accepted run. Building it checks configuration, data and weights; nothing is written before execute()."""

    def __init__(self, arguments: Arguments, config, saved, resolved):
        from transformers import set_seed

        from tensorized_adapters.data import load_data
        from tensorized_adapters.methods import check_model_config
        from tensorized_adapters.pretrained import build_model, load_config, load_tokenizer

        self.arguments, self.config, self.saved, self.resolved = arguments, config, saved, resolved
        self.model_config = load_config(arguments.model)
        check_model_config(config, self.model_config)
        self.tokenizer = load_tokenizer(arguments.model, self.model_config)
        training = arguments.training
        parts = {"train": training.do_train, "evaluation": training.do_eval, "prediction": training.do_predict}
        self.data = load_data(arguments.data, {part for part, wanted in parts.items() if wanted}, saved)
        set_seed(training.seed)
        self.model = build_model(arguments, self.model_config, config, self.data, resolved["head_start"])

    def execute(self, folder, start, argv: list[str], threads: int) -> int:
        from tensorized_adapters.results import new_record

        training = self.arguments.training
        if self.arguments.run.overwrite_output_dir:
            folder.clear()
        checkpoint = self._checkpoint(folder, start)
        record = new_record([Path(__file__).name, *argv], self.resolved, self.arguments.given, training.seed)
        name = self.arguments.data.task_name or self.arguments.data.dataset_name or self.arguments.data.train_file
        record |= {
            "threads": threads,
            "method": self.config.describe(),
            "task": name,
            "primary_metric": self.data.task.primary,
            "resumed_from": str(checkpoint) if checkpoint else None,
        }
        folder.write_record(record)
        began = time.time()
        try:
            self._train_and_measure(folder, record, checkpoint)
        except BaseException as error:
            record["status"] = "interrupted" if isinstance(error, (KeyboardInterrupt, Terminated)) else "failed"
            record["reason"] = " ".join(str(error).split())[:500] or type(error).__name__
            folder.write_record(record)
            if _out_of_memory(error):
                raise RunFailed(
                    "out of memory: try a smaller --per_device_train_batch_size or --max_seq_length"
                ) from None
            raise
        record["seconds"] = round(time.time() - began, 3)
        record["ended"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        record["status"] = "finished"
        folder.write_record(record)
        _print_results(record, folder.path)
        return 0

    def _checkpoint(self, folder, start):
        """The checkpoint to go on from, or None."""
        explicit = self.arguments.training.resume_from_checkpoint
        if explicit and explicit.lower() != "true":
            return Path(explicit)
        if start.kind != "resume" or not self.arguments.training.do_train:
            return None
        checkpoint, notes = folder.newest_whole_checkpoint()
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        print(f"going on from {checkpoint}" if checkpoint else "no whole checkpoint yet: starting from zero")
        return checkpoint

    def _train_and_measure(self, folder, record: dict, checkpoint) -> None:
        from tensorized_adapters.checkpoint import save_adapter
        from tensorized_adapters.files import write_json
        from tensorized_adapters.measure import evaluate_all, predict_all, train_metrics
        from tensorized_adapters.methods import parameter_groups
        from tensorized_adapters.pretrained import encoded
        from tensorized_adapters.results import best_of, console, history_of, parameter_table, peak_memory
        from tensorized_adapters.run_folder import ADAPTER_FOLDER, RESULTS_FILE
        from tensorized_adapters.surgery import adapters_of
        from tensorized_adapters.trainer import new_trainer

        training, task, model = self.arguments.training, self.data.task, self.model
        record["parameters"] = parameter_groups(model)
        record["learning_rates"] = self.resolved["learning_rates"]
        record["learning_rate_scales"] = [s for _, a in adapters_of(model) for _, s in a.learning_rate_scales()]
        console().print(parameter_table(record["parameters"], record["learning_rates"], self.config.describe()))
        notes = {"task": record["task"], "seed": training.seed}
        sets = encoded(self.data, self.tokenizer, self.model_config, self.arguments.data)
        trainer = new_trainer(
            model, training, self.arguments.data, self.tokenizer, sets, task, record["learning_rates"], notes
        )

        metrics: dict = {}
        if training.do_train:
            began = time.time()
            output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            record["step_losses"] = trainer.step_losses
            metrics |= {
                "epoch": trainer.state.epoch,
                "train_loss": sum(trainer.step_losses) / len(trainer.step_losses),
            }
            metrics |= {"train_samples": len(sets.train), "train_runtime": output.metrics["train_runtime"]}
            metrics |= {"train_samples_per_second": output.metrics["train_samples_per_second"]}
            record["train_seconds"] = round(time.time() - began, 3)
            save_adapter(model, folder.path / ADAPTER_FOLDER, notes)
            metrics |= train_metrics(trainer, sets.train, task)
            record["history"] = history_of(trainer.state.log_history)
            record["best_epoch"] = best_of(record["history"], task)
        if training.do_eval:
            metrics |= evaluate_all(trainer, sets.evaluation, task, folder.path)
        if training.do_predict:
            metrics |= predict_all(trainer, sets.prediction, task, folder.path)
        record["metrics"] = metrics
        record["peak_memory_bytes"] = peak_memory()
        adapter = folder.path / ADAPTER_FOLDER
        if adapter.is_dir():
            record["adapter_bytes"] = sum(file.stat().st_size for file in adapter.iterdir())
        write_json(folder.path / RESULTS_FILE, metrics)


def _print_results(record: dict, path: Path) -> None:
    from tensorized_adapters.results import console, results_table

    console().print(results_table(record))
    print(f"record: {path / 'run.json'}")


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _say(what: str, message: object, code: int) -> int:
    print(f"{what}: {' '.join(str(message).split())}", file=sys.stderr)
    return code


def _raise_terminated(*_) -> None:
    raise Terminated()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
