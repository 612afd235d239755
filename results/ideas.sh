#!/usr/bin/env bash
# What could make tensorized adapters better, one change at a time from CP of rank 16 at its default, seed 11.
# The records are of `--tasks stsb`, the task that is learnt.
source "$(dirname "$0")/common.sh"

cp=(--seeds 11 --projection_types cp --ranks 16)
sweep as_it_is "${cp[@]}"
sweep rank "${cp[@]}" --ranks 4
sweep scope "${cp[@]}" --ranks 16,32 --tensor_scope model
sweep parallel "${cp[@]}" --adapter_placement parallel
sweep weights "${cp[@]}" --adapter_placement weights
sweep split "${cp[@]}" --tensor_split interleaved
sweep warm_up "${cp[@]}" --warmup_ratio 0.3
sweep scale "${cp[@]}" --adapter_scale 4
sweep published "${cp[@]}" --adapter_init published
