#!/usr/bin/env bash
# The table of PROTOCOL.md: every method at its defaults, seed 1 of all methods first, task by task.
source "$(dirname "$0")/base_common.sh"

methods=(--projection_types cp,tucker,tt,tr --ranks 4 --methods layer_norm,bitfit,lora,dense,full)
for seed in 1 2 3; do
  sweep "cola_seed$seed" "${methods[@]}" --seeds "$seed" --tasks cola --num_train_epochs 3
  sweep "mrpc_seed$seed" "${methods[@]}" --seeds "$seed" --tasks mrpc --max_train_samples 1500 --num_train_epochs 4
  sweep "stsb_seed$seed" "${methods[@]}" --seeds "$seed" --tasks stsb --max_train_samples 2000 --num_train_epochs 3
  sweep "rte_seed$seed" "${methods[@]}" --seeds "$seed" --tasks rte --num_train_epochs 5
done
