"""Flags of transformers' TrainingArguments: each has a rule, and bad values are refused by name before anything is
written."""

from dataclasses import fields

import pytest
import torch
from helpers import argv, record_of, refused, tensors_of
from transformers import TrainingArguments

from run_glue_tensorized import main
from tensorized_adapters.arguments import trainer_fields
from tensorized_adapters.arguments.flags import RunArguments
from tensorized_adapters.data.arguments import DataTrainingArguments

# Fields that have no table there: argparse, TrainingArguments or the checks of the data refuse wrong values by name.
FREE = (
    "output_dir lr_scheduler_type optim optim_args accelerator_config average_tokens_across_devices bf16 fp16 "
    "bf16_full_eval fp16_full_eval tf32 activation_checkpointing gradient_checkpointing torch_compile "
    "torch_compile_backend use_cache logging_strategy logging_first_step log_on_each_node logging_nan_inf_filter "
    "include_num_input_tokens_seen log_level log_level_replica disable_tqdm report_to run_name project "
    "trackio_space_id trackio_bucket_id trackio_static_space_id eval_on_start eval_use_gather_object "
    "save_on_each_node push_to_hub hub_token hub_private_repo hub_model_id hub_revision "
    "load_best_model_at_end metric_for_best_model greater_is_better restore_callback_states_from_checkpoint "
    "full_determinism use_cpu dataloader_drop_last dataloader_pin_memory dataloader_persistent_workers "
    "dataloader_multiprocessing_context ddp_find_unused_parameters ddp_broadcast_buffers ddp_static_graph "
    "ddp_backend skip_memory_metrics do_train do_eval do_predict resume_from_checkpoint"
).split()


def test_every_field_is_decided_upon():
    own = {field.name for group in (RunArguments, DataTrainingArguments) for field in fields(group)}
    decided = [name for names, *_ in trainer_fields.RANGES for name in names.split() if name not in own]
    decided += FREE
    for table in ("CHOICES", "JSON_OBJECTS", "UNSUPPORTED", "ALWAYS_ON"):
        decided += getattr(trainer_fields, table)
    assert sorted(decided) == sorted({field.name for field in fields(TrainingArguments)})


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("dataloader_persistent_workers", True, "needs --dataloader_num_workers: give both, or leave it out"),
        ("dataloader_prefetch_factor", 2, "needs --dataloader_num_workers"),
        ("dataloader_num_workers", -1, "must be at least 0 and at most 256"),
        ("dataloader_in_order", False, "False is not supported"),
        ("remove_unused_columns", False, "False is not supported"),
        ("eval_accumulation_steps", 0, "must be above 0"),
        ("neftune_noise_alpha", -1, "must be at least 0"),
        ("logging_steps", "inf", "must be a finite number"),
        ("eval_delay", "nan", "must be a finite number"),
        ("learning_rate", "1e400", "must be a finite number"),
        ("cpu_threads", 2**31, "must be below 2**31"),
        ("cpu_threads", 100000, "must be above 0 and at most 1024"),
        ("preprocessing_num_workers", 100000, "must be above 0 and at most 256"),
        ("max_train_samples", 10**400, "must be below 2**31"),
        ("ddp_timeout", 10**30, "must be below 2**31"),
        ("max_steps", 0, "must be above 0, or -1"),
        ("max_steps", -5, "must be above 0, or -1"),
        ("local_rank", 3, "must be 0 or -1"),
        ("adam_epsilon", -1, "must be at least 0"),
        ("train_sampling_strategy", "foo", "must be one of group_by_length, random, sequential"),
        ("include_for_metrics", "foo", "must be one of inputs, loss"),
        ("torch_compile_backend", "foo", "must be one of eager, "),
        ("torch_compile_mode", "foo", "must be one of default, "),
        ("eval_strategy", "foo", "must be one of no, steps, epoch"),
        ("fp16", True, "needs a GPU; on CPU --bf16 computes in bfloat16"),
        ("fp16_full_eval", True, "needs a GPU"),
        ("lr_scheduler_kwargs", "{", "must be a JSON object"),
        ("lr_scheduler_kwargs", "[" * 100000, "must be a JSON object"),
        ("lr_scheduler_kwargs", '{"foo": 1}', "unexpected keyword argument 'foo'"),
        ("accelerator_config", "foo", "foo cannot be read: No such file or directory"),
        ("accelerator_config", '{"foo": 1}', "unexpected keyword argument 'foo'"),
        ("optim_args", "foo", "must be like name=1,other=2"),
        ("optim_args", "eps=1e-3", "is amsgrad=True or amsgrad=False, got 'eps=1e-3'; its betas and epsilon are"),
        ("optim_target_modules", "all", "is not supported"),
        ("enable_jit_checkpoint", True, "is not supported: its checkpoints have no manifest and would"),
        ("output_dir", "", "is empty"),
        ("run_name", "", "is empty"),
        ("optim", "x" * 5000, "invalid choice"),
        ("seed", "9" * 5000, "invalid int value"),
    ],
)
def test_refused_by_name(capsys, flags, monkeypatch, name, value, message):
    monkeypatch.setattr("torch.accelerator.is_available", lambda *_, **__: False)
    error = refused(capsys, argv(flags, **{name: value}), flags["output_dir"])
    assert f"--{name}" in error and message in error and len(error) < 1100
    assert "9" * 81 not in error and "x" * 81 not in error and "[" * 81 not in error


def test_a_flag_in_an_old_spelling_is_reported_in_both(capsys, flags):
    error = refused(capsys, argv(flags, evaluation_strategy="foo"))
    assert "--eval_strategy must be one of no" in error and "--evaluation_strategy is now --eval_strategy" in error


def test_evaluation_in_bfloat16_on_cpu_leaves_the_saved_adapter_as_it_was_trained(flags):
    assert main(argv(flags, bf16_full_eval=True, num_train_epochs=1)) == 0
    out = flags["output_dir"]
    assert record_of(out)["arguments"]["bf16_full_eval"] is True
    saved, trained = tensors_of(out), tensors_of(out / "checkpoint-6")
    assert all(torch.equal(saved[name], trained[name]) for name in trained)
