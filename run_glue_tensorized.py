"""Fine-tune a frozen pre-trained BERT on a GLUE task with CP, Tucker, Tensor-Train or Tensor-Ring adapters, or with
one of the methods that they are compared with (--method).

Flags are those of Hugging Face's run_glue and TrainingArguments, plus ours. A JSON file of the same names can come
first; flags after it win. Exit codes: 0 done, 2 refused input, 1 failed, 130 and 143 interrupted.
"""

from __future__ import annotations

from tensorized_adapters.runtime import distributed, signals

if __name__ == "__main__":
    signals.begin()  # before the imports that take seconds

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorized_adapters.errors import Terminated, refuse_first
from tensorized_adapters.runtime import exits

# Set before the libraries that read it. Tokenisation is short; its threads would only make forks warn.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if TYPE_CHECKING:
    from tensorized_adapters.arguments.flags import Arguments
    from tensorized_adapters.runs.run import Run


def main(argv: list[str]) -> int:
    """Run the job; returns the exit code, after one line on stderr if it is not 0."""
    return exits.run(run_job, argv)


def run_job(argv: list[str]) -> int:
    """Parse the command line, open the run's folder, run, print the results and upload them."""
    distributed.check_launch()
    distributed.silence_other_processes()
    # Imported step by step, so that a misspelled flag is refused before Trainer, datasets and evaluate are imported.
    _announce("importing PyTorch", argv)
    import torch  # noqa: F401 - takes longest

    _announce("importing Transformers", argv)
    from transformers.utils import logging

    from tensorized_adapters.arguments.parsing import parse_arguments

    logging.set_verbosity_error()
    logging.disable_progress_bar()  # of loading weights; training keeps its own
    arguments = parse_arguments(argv)
    _announce("importing the Trainer", argv)
    from tensorized_adapters.runs.run import open_run

    try:
        with open_run(arguments) as run:
            if not run.finished:
                run_glue(arguments, run, [Path(__file__).name, *argv])
    except (KeyboardInterrupt, Terminated) as error:
        raise type(error)("the same command goes on from the newest checkpoint, if there is one") from error
    run.print_results()
    if arguments.training.push_to_hub and distributed.is_main_process():
        from tensorized_adapters.runs.push_to_hub import push

        push(arguments.training)
    return 0


def run_glue(arguments: Arguments, run: Run, argv: list[str]) -> None:
    """Train, evaluate and predict, in the order of Hugging Face's run_glue.

    The run's folder is locked by this process. ``run.begin`` writes first, so all refusals come before it. ``argv`` is
    the command, for the record.
    """
    import torch
    from transformers import set_seed

    from tensorized_adapters.adaptation.parameters import count_trained, trained_parameters
    from tensorized_adapters.backbone import loading, trained_heads
    from tensorized_adapters.backbone.parts import skeleton
    from tensorized_adapters.data import encoding
    from tensorized_adapters.data.class_weights import class_weights, imbalance
    from tensorized_adapters.data.loading import load_data
    from tensorized_adapters.data.metric_names import with_metrics
    from tensorized_adapters.methods.registry import method_of
    from tensorized_adapters.runs import evaluation, push_to_hub, record, resuming, same_run, trainer_checks
    from tensorized_adapters.runs.contribution import contribution
    from tensorized_adapters.saving.load import kept_and_new, load_adapter
    from tensorized_adapters.saving.pretrained import add_adapters
    from tensorized_adapters.saving.save import adapter_files, write_adapters, write_card
    from tensorized_adapters.training.callbacks import EarlyStopping
    from tensorized_adapters.training.checkpoints import ADAPTER_FOLDER
    from tensorized_adapters.training.collapse import loss_of_best_constant
    from tensorized_adapters.training.diff_trainer import trainer_class
    from tensorized_adapters.training.dropout import use_cheap_dropout
    from tensorized_adapters.training.frozen_prefix import FrozenPrefix, with_prefix

    model_args, data_args, run_args = arguments.model, arguments.data, arguments.run
    training_args, adapter_config = arguments.training, arguments.adapter
    set_seed(training_args.seed)

    with distributed.fail_together():  # a refusal of one process ends all
        # Configuration, tokenizer and data, which can be refused before weights are downloaded
        config = arguments.model_config
        without_weights = skeleton(config)
        method_of(adapter_config).check(without_weights)
        tokenizer = loading.load_tokenizer(model_args, config)
        for message in loading.agree_on_padding(tokenizer, config):
            run.note(message)
        run.announce("reading the data")
        roles = same_run.used_roles(training_args)
        data = load_data(data_args, roles, arguments.saved, training_args.seed, run_args.new_head)
        task = with_metrics(data.task, run_args.metric_name, training_args.metric_for_best_model)
        encoding.check_tokenizer(tokenizer, data, data_args)
        refuse_first(trainer_checks.flaws_of_training(arguments, data, task, tokenizer, without_weights))
        weights = None
        if run_args.class_weights is not None:
            weights = class_weights(run_args.class_weights, task.labels, data.train["label"][:])
        elif training_args.do_train and task.labels and not task.multi_label:
            run.note(imbalance(task.labels, data.train["label"][:]))

        # Pre-trained model
        run.announce("loading the model")
        head_labels = trained_heads.labels_of_head(config)  # before the task's labels replace them
        model, newly_initialized, had_other_size = loading.load_model(
            model_args, config, task.labels, task.problem_type, run_args.new_head
        )

        # Adapters
        if run_args.adapter_path:
            load_adapter(model, run_args.adapter_path, new_head=run_args.new_head)
        else:
            run.note(trained_heads.fit_head_(model, head_labels, newly_initialized, had_other_size))
            add_adapters(model, adapter_config, newly_initialized)
        if run_args.new_head:
            run.note(kept_and_new(model, arguments.saved))
        if (run_args.new_head or not run_args.adapter_path) and run.resolved["head_start"] == "label_prior":
            applied = loading.set_label_prior_(model, data.train["label"], newly_initialized, weights)
            if not applied and (newly_initialized or "head_start" in arguments.given):
                run.note("--head_start label_prior: the head has no new bias; it starts as it is")
        use_cheap_dropout(model)

        # Tokenised data, padded to each batch's longest example unless asked otherwise
        run.announce("tokenising")
        sets = encoding.encoded(data, tokenizer, config, data_args)
        collator = encoding.collator(tokenizer, data_args, half=training_args.fp16 or training_args.bf16)
        if run_args.cache_frozen_prefix:
            autocast = torch.bfloat16 if training_args.bf16 else torch.float16 if training_args.fp16 else None
            prefix = FrozenPrefix(model, trainer_checks.usable_cache_folder(run_args.prefix_cache_dir), autocast)
            collator = with_prefix(collator)

        # Trainer
        run.step = "preparing the Trainer"
        notes = push_to_hub.notes_for_card(arguments, data)
        constant_loss, callbacks = None, []
        if training_args.do_train:
            classes, smoothing = task.labels and len(task.labels), training_args.label_smoothing_factor
            constant_loss = loss_of_best_constant(data.train["label"][:], classes, smoothing, weights)
        if run_args.early_stopping_patience is not None:
            threshold = run_args.early_stopping_threshold or 0.0
            callbacks.append(EarlyStopping(run_args.early_stopping_patience, threshold))
        with trainer_checks.refused_by_the_trainer():
            trainer = trainer_class(adapter_config)(
                model=model,
                args=training_args,
                train_dataset=sets.train,
                eval_dataset=next(iter(sets.evaluation.values()), None),
                compute_metrics=evaluation.metric_function(task),
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
            untrained = {name: values.detach().clone() for name, values in trained_parameters(model).items()}
    checkpoint = run.checkpoint()
    with distributed.fail_together():
        if checkpoint:
            resuming.check_checkpoint(trainer, checkpoint)
        if training_args.push_to_hub:
            run.step = "asking the hub"
            push_to_hub.check_repository(training_args)

    run.begin(
        argv,
        method=adapter_config.describe(),
        task=notes["task"],
        primary_metric=task.primary,
        resumed_from=str(checkpoint) if checkpoint else None,
        parameters=count_trained(model),
        files=evaluation.prediction_files(data),
        **({"class_weights": dict(zip(task.labels, weights))} if weights else {}),
    )
    if run_args.cache_frozen_prefix:
        run.announce("computing the frozen prefix")
        sets = prefix.of_sets(sets, collator, training_args)
        trainer.train_dataset, trainer.eval_dataset = sets.train, next(iter(sets.evaluation.values()), None)
    metrics: dict[str, Any] = {}

    # Training. The saved weights are the ones that are measured afterwards, rounded with --bf16_full_eval
    if training_args.do_train:
        run.step = "training"
        # A killed start leaves its seconds in its checkpoint alone
        run.seconds_before = max(run.seconds_before, trainer.seconds_before)
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        run.record |= record.trained_fields(trainer, task)
        with distributed.fail_together():
            if distributed.is_main_process():  # before --bf16_full_eval converts the model
                files = adapter_files(model, run.path / ADAPTER_FOLDER, notes)
        run.announce("measuring on the training set")
        limit = run_args.max_train_metric_samples
        names = ("epoch", "train_loss", "train_runtime", "train_samples_per_second")
        metrics |= {name: result.metrics[name] for name in names} | {"train_samples": len(sets.train)}
        metrics |= evaluation.train_metrics(trainer, sets.train, task, limit)
        run.record["train_metric_examples"] = record.measured_examples(metrics, training_args.seed)
        if run_args.measure_contribution:
            run.record["contribution"] = contribution(trainer, task, limit, untrained)
        if distributed.is_main_process():
            write_adapters({run.path / ADAPTER_FOLDER: files})  # after the evaluation, which refuses NaN

    # Evaluation, on both sets if the task is MNLI
    if training_args.do_eval:
        run.announce("evaluating")
        measured, scores = evaluation.evaluate(trainer, sets.evaluation, data.evaluation, task, run.path)
        metrics |= measured
        run.record |= scores
    if training_args.do_train and distributed.is_main_process():
        trained = push_to_hub.training_of(data_args, task, metrics, run.record["command"])
        write_card(model, run.path / ADAPTER_FOLDER, notes, trained)
        run.record["adapter_bytes"] = record.bytes_of_adapter(run.path / ADAPTER_FOLDER)

    # Prediction
    if training_args.do_predict:
        run.announce("predicting")
        metrics |= evaluation.predict(trainer, sets.prediction, task, run.path)

    run.record["metrics"] = metrics
    run.step = "writing the results"


def _announce(doing: str, argv: list[str]) -> None:
    """Print on a terminal which step takes seconds. A log does not need it, nor does --help."""
    if sys.stdout.isatty() and not {"-h", "--help"} & set(argv):
        print(f"{doing} ...", flush=True)


if __name__ == "__main__":
    exits.exit_with(main(sys.argv[1:]))
