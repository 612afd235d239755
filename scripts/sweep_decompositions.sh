#!/usr/bin/env bash
# All four formats at rank 4, and every baseline. Flags are those of scripts/sweep.py (--help) and of the main job:
#   bash scripts/sweep_decompositions.sh --tasks mrpc,rte,stsb --seeds 1,2,3 --output_dir runs/decompositions
# Without model and data: the embedded MiniLM and data/paraphrases. The same command again goes on where it was.
set -euo pipefail
from=$PWD
source "$(dirname "$0")/setup.sh"
use_python_with_ray
repository=$PWD
cd "$from" # relative paths are the caller's
exec "$python" "$repository/scripts/sweep.py" --projection_types cp,tucker,tt,tr --ranks 4 \
    --methods dense,compacter,bitfit,layer_norm,head,lora,diff_pruning,full --output_dir runs/sweep_decompositions "$@"
