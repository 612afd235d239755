#!/usr/bin/env bash
# The part "Collapse" of PROTOCOL_minilm.md: each format at ranks 1, 2, 4, 8 and 16 (where it can use them), at twice the default
# learning rate, and at ranks 1, 4, 8 and 16 at the default one, 3 epochs, seed 11.
#
# `--tasks stsb` takes one task, of which the records are; `--max_train_samples 6000 --num_train_epochs 2` is the longer run that tr-8 once
# collapsed in on SST-2. A run has collapsed if its last score is that of a constant prediction (F1 or accuracy of the
# majority class, a correlation below 0.1) although its training loss had fallen below its start's: a task that is not
# learnt at all in this time, as CoLA, shows nothing.
source "$(dirname "$0")/common.sh"

short=(--seeds 11 --projection_types cp,tucker,tt,tr --num_train_epochs 3 --max_train_metric_samples 200)
sweep twice "${short[@]}" --ranks 1,2,4,8,16 --learning_rates 4e-3
sweep once "${short[@]}" --ranks 1,4,8,16 --learning_rates 2e-3

# One epoch of each task, in float32, at twice the default rates; records of a part of it are in collapse_tasks.
tasks=(--seeds 11 --tasks cola,mrpc,stsb,rte --max_train_samples 4000 --shuffle_train_dataset True --num_train_epochs 1
  --max_seq_length 64 --max_train_metric_samples 200 --bf16 False)
sweep tasks_twice "${tasks[@]}" --projection_types cp,tucker,tt,tr --ranks 4 --methods layer_norm,bitfit,lora --learning_rates 4e-3
sweep tasks_twice_dense "${tasks[@]}" --methods dense --learning_rates 2e-3
