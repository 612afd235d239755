#!/usr/bin/env bash
# What could make tensorized adapters better, one change at a time from CP of rank 16 at its default, seed 11.
source "$(dirname "$0")/common.sh"

cp=(--seeds 11 --projection_types cp --ranks 16)
sweep as_it_is "${cp[@]}"
sweep rank "${cp[@]}" --ranks 1,4
sweep scope "${cp[@]}" --ranks 16,32 --tensor_scope model
sweep parallel "${cp[@]}" --adapter_placement parallel
sweep weights "${cp[@]}" --adapter_placement weights
sweep split "${cp[@]}" --tensor_split interleaved
sweep warm_up "${cp[@]}" --warmup_ratio 0.3
sweep weight_decay "${cp[@]}" --weight_decay 0.1
sweep scale "${cp[@]}" --adapter_scale 4
sweep published "${cp[@]}" --adapter_init published
