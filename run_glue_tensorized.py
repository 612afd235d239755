"""Fine-tune a frozen pre-trained BERT on a GLUE task with CP, Tucker, Tensor-Train or Tensor-Ring adapters, or with
one of the methods that they are compared with (--method).

Flags are those of Hugging Face's run_glue and TrainingArguments, plus ours. A JSON file of the same names can come
first; flags after it win. Exit codes: 0 done, 2 refused input, 1 failed, 130 and 143 interrupted.
"""

from __future__ import annotations

from tensorized_adapters.runtime import distributed, signals

if __name__ == "__main__":
    signals.begin()  # before anything that takes its time to import

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorized_adapters.errors import RunFailed, Terminated, UsageError
from tensorized_adapters.runtime.exits import tell, unexpected

# Before the libraries that read it. Tokenisation is short; its threads would only make forks warn.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if TYPE_CHECKING:
    from tensorized_adapters.arguments.flags import Arguments
    from tensorized_adapters.runs.run import Run


def main(argv: list[str]) -> int:
    """Run the job; returns the exit code."""
    try:
        distributed.check_launch()
        distributed.be_quiet()
        # Imported step by step: a typo in a flag does not wait for Trainer, datasets and evaluate.
        _announce("importing PyTorch", argv)
        import torch  # noqa: F401 - takes longest

        _announce("importing Transformers", argv)
        from tensorized_adapters.arguments.parsing import parse_arguments

        arguments = parse_arguments(argv)
        _announce("importing the Trainer", argv)
        from tensorized_adapters.runs.run import open_run

        with open_run(arguments) as run:
            if not run.finished:
                run_glue(arguments, run, [Path(__file__).name, *argv])
        run.print_results()
        if arguments.training.push_to_hub and distributed.is_first():
            from tensorized_adapters.runs.push_to_hub import share

            share(arguments.training)
        return 0
    except UsageError as error:
        return tell("error", error, 2, error)
    except OSError as error:  # of a path that cannot even be looked at; those of a run are RunFailed
        return tell("error", f"{error.filename or 'a file'}: {error.strerror or error}", 2)
    except RunFailed as error:
        return tell("failed", error, 1, error)
    except KeyboardInterrupt as error:
        return tell("interrupted", "the same command goes on from the newest checkpoint, if there is one", 130, error)
    except Terminated as error:
        return tell("terminated", "the same command goes on from the newest checkpoint, if there is one", 143, error)
    except Exception as error:  # before the run was open, or of its last words
        return tell("failed", unexpected(error), 1)


def run_glue(arguments: Arguments, run: Run, argv: list[str]) -> None:
    """Everything from the seed to the predictions, in the order of Hugging Face's run_glue.

    Args:
        arguments: checked.
        run: its folder, held by this process. Whatever can be refused is refused before ``run.begin`` writes there.
        argv: the command, for the record.
    """
    import torch
    from transformers import DataCollatorWithPadding, default_data_collator, set_seed

    from tensorized_adapters.adaptation.parameters import count_trained
    from tensorized_adapters.backbone import loading, trained_heads
    from tensorized_adapters.backbone.parts import skeleton
    from tensorized_adapters.data import encoding
    from tensorized_adapters.data.class_weights import class_weights, imbalance
    from tensorized_adapters.data.loading import load_data
    from tensorized_adapters.data.metric_names import with_metrics
    from tensorized_adapters.methods.registry import method_of
    from tensorized_adapters.runs.contribution import Contribution
    from tensorized_adapters.runs.evaluation import evaluate, metric_function, predict, prediction_files, train_metrics
    from tensorized_adapters.runs.push_to_hub import check_sharing, training_of
    from tensorized_adapters.runs.record import best_of, history_of, size_of_adapter
    from tensorized_adapters.runs.same_run import used_roles
    from tensorized_adapters.runs.trainer_checks import check_training, refused_by_the_trainer, usable_cache_folder
    from tensorized_adapters.runtime.distributed import agreed, first_before_others, is_first
    from tensorized_adapters.saving.format import read_adapter
    from tensorized_adapters.saving.load import check_adapter_fits, load_adapter
    from tensorized_adapters.saving.pretrained import add_adapters
    from tensorized_adapters.saving.save import save_adapter, write_card
    from tensorized_adapters.training.callbacks import AfterFirstStep
    from tensorized_adapters.training.checkpoints import ADAPTER_FOLDER
    from tensorized_adapters.training.collapse import loss_of_best_constant
    from tensorized_adapters.training.diff_trainer import DiffPruningTrainer
    from tensorized_adapters.training.dropout import use_cheap_dropout
    from tensorized_adapters.training.early_stopping import EarlyStopping
    from tensorized_adapters.training.frozen_prefix import FrozenPrefix, with_prefix
    from tensorized_adapters.training.trainer import AdapterTrainer

    model_args, data_args, run_args = arguments.model, arguments.data, arguments.run
    training_args, adapter_config = arguments.training, arguments.adapter
    set_seed(training_args.seed)

    with agreed():  # what one process refuses, all do
        # Configuration, tokenizer, data and its labels: what they refuse costs no download of weights
        config = run.model_config
        without_weights = skeleton(config)
        method_of(adapter_config).check(without_weights)
        tokenizer = loading.load_tokenizer(model_args, config)
        for line in loading.agree_on_padding(tokenizer, config):
            print(f"note: {line}")
        run.now("reading the data")
        saved = None if run_args.new_head else arguments.saved
        data = load_data(data_args, used_roles(training_args), saved, training_args.seed)
        task = with_metrics(data.task, run_args.metric_name, training_args.metric_for_best_model)
        encoding.check_tokenizer(tokenizer, data, data_args)
        check_training(arguments, data, task, tokenizer, without_weights)
        weights = None
        if run_args.class_weights is not None:
            weights = class_weights(run_args.class_weights, task.labels, data.train["label"][:])
        elif training_args.do_train and task.labels and (line := imbalance(task.labels, data.train["label"][:])):
            arguments.notes.append(line)

        # Pre-trained model
        run.now("loading the model")
        head_labels = trained_heads.labels_of_head(config)  # before the task's labels take their place
        model, newly_initialized = loading.load_model(model_args, config, task, run_args.new_head)

        # Adapters
        if run_args.adapter_path:
            load_adapter(model, run_args.adapter_path, new_head=run_args.new_head)
            if run_args.new_head:
                arguments.notes.append(encoding.kept_and_new(model, arguments.saved))
        else:
            if line := trained_heads.fit_head_(model, head_labels, newly_initialized):
                arguments.notes.append(line)
            add_adapters(model, adapter_config, newly_initialized)
        if (run_args.new_head or not run_args.adapter_path) and run.resolved["head_start"] == "label_prior":
            applied = loading.set_label_prior_(model, data.train["label"], newly_initialized, weights)
            if not applied and (newly_initialized or "head_start" in arguments.given):
                arguments.notes.append("--head_start label_prior: the head has no new bias; it starts as it is")
        use_cheap_dropout(model)

        # Tokenised data, padded to each batch's longest example unless asked otherwise
        run.now("tokenising")
        sets = encoding.encoded(data, tokenizer, config, data_args)
        if data_args.pad_to_max_length:
            collator = default_data_collator
        else:
            multiple = 8 if training_args.fp16 or training_args.bf16 else None
            collator = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple)
        if run_args.cache_frozen_prefix:
            autocast = torch.bfloat16 if training_args.bf16 else torch.float16 if training_args.fp16 else None
            prefix = FrozenPrefix(model, usable_cache_folder(run_args.prefix_cache_dir), autocast)
            collator = with_prefix(collator)

        # Trainer
        run.doing = "preparing the Trainer"
        name = data_args.task_name or data_args.dataset_name or data_args.train_file or "files"
        notes = {"task": name, "texts": list(task.texts), "label": data.label, "seed": training_args.seed}
        notes["max_seq_length"] = data_args.max_seq_length
        if model_args.tokenizer_name:
            notes["tokenizer"] = model_args.tokenizer_name
        constant_loss = None
        if training_args.do_train:
            classes, smoothing = task.labels and len(task.labels), training_args.label_smoothing_factor
            constant_loss = loss_of_best_constant(data.train["label"][:], classes, smoothing, weights)
        callbacks = []
        if run_args.early_stopping_patience is not None:
            threshold = run_args.early_stopping_threshold or 0.0
            callbacks.append(EarlyStopping(run_args.early_stopping_patience, threshold))
        kind = DiffPruningTrainer if adapter_config.method == "diff_pruning" else AdapterTrainer
        with refused_by_the_trainer():
            trainer = kind(
                model=model,
                args=training_args,
                train_dataset=sets.train,
                eval_dataset=next(iter(sets.evaluation.values()), None),
                compute_metrics=metric_function(task),
                data_collator=collator,
                processing_class=tokenizer,
                rates=run.resolved["learning_rates"],
                notes=notes,
                arguments=run.resolved,
                constant_loss=constant_loss,
                class_weights=weights,
                callbacks=callbacks,
            )
            if training_args.do_train:
                trainer.check_optimizer_and_schedule()
        if run_args.measure_contribution:
            contribution = Contribution(trainer, task, run_args.max_train_metric_samples)  # the model is untrained yet
    checkpoint = run.checkpoint()
    if checkpoint:
        with agreed():
            adapter = read_adapter(checkpoint / ADAPTER_FOLDER)
            check_adapter_fits(model, *adapter, checkpoint, same_labels=True)
            if training_args.do_train:
                trainer.check_checkpoint(checkpoint)
    if training_args.push_to_hub:
        run.doing = "asking the hub"
        with agreed():
            check_sharing(training_args)

    run.begin(
        argv,
        method=adapter_config.describe(),
        task=name,
        primary_metric=task.primary,
        resumed_from=str(checkpoint) if checkpoint else None,
        parameters=count_trained(model),
        learning_rates=run.resolved["learning_rates"],
        files=prediction_files(data),
        **({"class_weights": dict(zip(task.labels, weights))} if weights else {}),
    )
    if run_args.cache_frozen_prefix:
        run.now("computing the frozen prefix")
        model.to(training_args.device)  # which the Trainer leaves to its evaluation in half precision
        with first_before_others():
            sets = sets.mapped(lambda examples: prefix.of(examples, collator, training_args.eval_batch_size))
        trainer.train_dataset, trainer.eval_dataset = sets.train, next(iter(sets.evaluation.values()), None)
    metrics: dict[str, Any] = {}

    # Training; the saved adapter's very weights are what is measured
    if training_args.do_train:
        run.doing = "training"
        trainer.add_callback(AfterFirstStep(run.note_memory))
        # An earlier start that was killed left no seconds in the record, but those of its training in the checkpoint
        run.seconds_before = max(run.seconds_before, trainer.time.before)
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        run.record["train_seconds"] = trainer.time.total()
        run.record["step_losses"] = trainer.losses.values
        if trainer.collapsed_at_step is not None:
            run.record["collapsed_at_step"] = trainer.collapsed_at_step
        if (step := trainer.stopped_early_at_step) is not None:
            run.record["stopped_early_at_step"] = step
            print(f"stopped early at step {step:,} of {trainer.state.max_steps:,}: the metric no longer improves")
        run.now("measuring on the training set")
        metrics |= {
            "epoch": trainer.state.epoch,
            "train_loss": trainer.losses.mean(),
            "train_samples": len(sets.train),
            "train_runtime": result.metrics["train_runtime"],
            "train_samples_per_second": result.metrics["train_samples_per_second"],
        }
        metrics |= train_metrics(trainer, sets.train, task, run_args.max_train_metric_samples)
        drawn = metrics["train_metric_samples"] < len(sets.train)
        run.record["train_metric_examples"] = {
            "count": metrics["train_metric_samples"],
            "of": len(sets.train),
            "drawn_by_seed": training_args.seed if drawn else None,
        }
        if run_args.measure_contribution:
            run.record["contribution"] = contribution.measured()
        run.record["history"] = history_of(trainer.state.log_history)
        run.record["best_epoch"] = best_of(run.record["history"], task)
        if is_first():
            save_adapter(model, run.path / ADAPTER_FOLDER, notes)  # after a measurement, which NaN does not survive

    # Evaluation, of both sets where the task is MNLI
    if training_args.do_eval:
        run.now("evaluating")
        for suffix, examples in sets.evaluation.items():
            measured, found = evaluate(trainer, examples, data.evaluation[suffix], task, run.path, suffix)
            metrics |= measured
            for name, value in found.items():
                run.record[name] = run.record.get(name, {}) | {f"eval{suffix}": value}
    if training_args.do_train:
        trained = training_of(data_args, task, metrics, run.record["command"])
        if is_first():
            write_card(model, run.path / ADAPTER_FOLDER, notes, trained)
            run.record["adapter_bytes"] = size_of_adapter(run.path / ADAPTER_FOLDER)

    # Prediction
    if training_args.do_predict:
        run.now("predicting")
        for name, examples in sets.prediction.items():
            predict(trainer, examples, task, run.path / f"{name}.tsv")
        metrics["predict_samples"] = sum(map(len, sets.prediction.values()))

    run.record["metrics"] = metrics
    run.doing = "writing the results"


def _announce(doing: str, argv: list[str]) -> None:
    """On a terminal, before what takes seconds; a log has no need of it, and --help is about flags."""
    if sys.stdout.isatty() and not {"-h", "--help"} & set(argv):
        print(f"{doing} ...", flush=True)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    distributed.part(code)
    sys.exit(code)
