#!/usr/bin/env bash
# Sweeps all four formats over ranks 1, 2, 4, 8 and 16. It takes the flags of tensorized-adapters sweep (--help) and of
# run_glue_tensorized.py:
#   bash scripts/sweep_ranks.sh --ranks 2,4 --projection_types cp,tt --tasks mrpc,rte --seeds 1,2,3 --output_dir runs/ranks
# Without model and data it takes the embedded MiniLM and data/paraphrases. The same command again goes on where it was.
set -euo pipefail
source "$(dirname "$0")/setup.sh"
run_sweep --projection_types cp,tucker,tt,tr --ranks 1,2,4,8,16 \
    --output_dir runs/sweep_ranks "$@"
