#!/usr/bin/env bash
# Sweeps all four formats at rank 4, and every baseline. It takes the flags of tensorized-adapters sweep (--help) and of
# run_glue_tensorized.py:
#   bash scripts/sweep_decompositions.sh --tasks mrpc,rte,stsb --seeds 1,2,3 --output_dir runs/decompositions
# Without model and data it takes the embedded MiniLM and data/paraphrases. The same command again goes on where it was.
set -euo pipefail
source "$(dirname "$0")/setup.sh"
run_sweep --projection_types cp,tucker,tt,tr --ranks 4 \
    --methods dense,compacter,bitfit,layer_norm,head,lora,ia3,diff_pruning,full --output_dir runs/sweep_decompositions "$@"
