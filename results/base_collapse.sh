#!/usr/bin/env bash
# The part "Collapse" of PROTOCOL.md: one epoch on each task, at the default rate and at twice that.
source "$(dirname "$0")/base_common.sh"

short=(--seeds 11,12 --tasks cola,mrpc,stsb,rte --max_train_samples 4000 --num_train_epochs 1)
ranks=(--ranks 1,2,4,8,16)
baselines=layer_norm,bitfit,lora,dense,compacter,full
sweep once "${short[@]}" --projection_types cp,tucker,tt,tr "${ranks[@]}" --methods "$baselines"
# Twice the default at this size: 2.5e-3 for CP, Tucker and TR, 2e-3 for TT, 1e-3 for these baselines. LayerNorms and head have 1.25e-3,
# but LayerNorms beside dense adapters 3.1e-4.
twice=(--layer_norm_learning_rate 2.5e-3 --head_learning_rate 2.5e-3)
sweep twice "${short[@]}" --projection_types cp,tucker,tr "${ranks[@]}" --learning_rates 5e-3 "${twice[@]}"
sweep twice_tt "${short[@]}" --projection_types tt "${ranks[@]}" --learning_rates 4e-3 "${twice[@]}"
sweep twice_baselines "${short[@]}" --methods layer_norm,bitfit,lora,compacter --learning_rates 2e-3 "${twice[@]}"
dense=(--layer_norm_learning_rate 6.25e-4 --head_learning_rate 2.5e-3)
sweep twice_dense "${short[@]}" --methods dense --learning_rates 2e-3 "${dense[@]}"
sweep twice_full "${short[@]}" --methods full --learning_rates 1e-4 --head_learning_rate 2.5e-4
