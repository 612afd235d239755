#!/usr/bin/env bash
# A rare class, without and with weights: 800 pairs of data/paraphrases, 24 of which (3 %) have label 1. CP adapters in
# MiniLM's last layer, on the cached output of the others. Macro F1 on the validation set, which stays balanced; seeds 1
# to 3; one table at the end.
#   bash results/imbalance.sh OUTPUT_DIR [further flags of run_glue_tensorized.py]
# The same command again goes on where it was.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: bash $0 OUTPUT_DIR [further flags of run_glue_tensorized.py]" >&2; exit 2; }
output=$(realpath -m "$1")
further=("${@:2}")
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/setup.sh"
use_python
data=$repository/data/paraphrases
model=$("$python" -m tensorized_adapters.embedded)

mkdir -p "$output"
"$python" - "$data/train.csv" "$output/train.csv" << 'END'
import csv, sys

with open(sys.argv[1], newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
common = [row for row in rows if row["label"] == "0"][:776]
rare = [row for row in rows if row["label"] == "1"][:24]
with open(sys.argv[2], "w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(common + rare)
END

for seed in 1 2 3; do
  for weights in none balanced; do
    loss=(--class_weights "$weights")
    [ "$weights" != none ] || loss=()
    "$python" "$repository/run_glue_tensorized.py" --model_name_or_path "$model" --task_name mrpc --do_train --do_eval \
      --train_file "$output/train.csv" --validation_file "$data/validation.csv" --metric_name f1_macro,average_precision \
      --adapter_projection_type cp --tensorized_layer_rank 4 --per_device_train_batch_size 32 --num_train_epochs 5 \
      --adapter_layers 5 --cache_frozen_prefix --prefix_cache_dir "$output/prefix" --eval_strategy no --save_strategy no \
      --cpu_threads 1 --seed "$seed" --output_dir "$output/$weights-$seed" "${loss[@]}" "${further[@]}"
  done
done
"$python" -m tensorized_adapters report "$output" --output_dir "$output/report"
