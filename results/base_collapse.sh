#!/usr/bin/env bash
# The part "Collapse" of PROTOCOL.md: one epoch on each task, at the default rate and at twice that.
source "$(dirname "$0")/base_common.sh"

short=(--seeds 11,12 --tasks cola,mrpc,stsb,rte --max_train_samples 4000 --num_train_epochs 1)
formats=(--projection_types cp,tucker,tt,tr --ranks 1,2,4,8,16)
sweep once "${short[@]}" "${formats[@]}" --methods layer_norm,bitfit,lora,dense,compacter,full
# Twice the default at this size: 2.5e-3 for tensorized adapters, 1e-3 for these baselines, 1.25e-3 for LayerNorms and head.
twice=(--layer_norm_learning_rate 2.5e-3 --head_learning_rate 2.5e-3)
sweep twice "${short[@]}" "${formats[@]}" --learning_rates 5e-3 "${twice[@]}"
sweep twice_baselines "${short[@]}" --methods layer_norm,bitfit,lora --learning_rates 2e-3 "${twice[@]}"
