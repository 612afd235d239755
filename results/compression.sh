#!/usr/bin/env bash
# The part "Compression" of PROTOCOL_minilm.md:  bash results/compression.sh GLUE_FOLDER OUTPUT_DIR
# Trains dense adapters, and measures them compressed. OUTPUT_DIR/figure/compression.json is what is kept, as
# results/compression/stsb.json. The same command again goes on where it was.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: bash $0 GLUE_FOLDER OUTPUT_DIR" >&2; exit 2; }
glue=$(realpath "$1") output=$(realpath -m "$2")
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/setup.sh"
use_python
"$python" run_glue_tensorized.py --model_name_or_path "$("$python" -m tensorized_adapters.embedded)" \
  --glue_path "$glue" --task_name stsb --method dense --do_train --do_eval --max_train_samples 1000 --shuffle_train_dataset False \
  --max_eval_samples 500 --num_train_epochs 3 --per_device_train_batch_size 32 --max_seq_length 128 --bf16 \
  --cpu_threads 1 --seed 11 --output_dir "$output/dense"
"$python" results/study_compression.py --adapter_path "$output/dense" --projection_types cp,tt,tucker,tr \
  --ranks 2,4,8,16 --output_dir "$output/figure"
