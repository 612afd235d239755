#!/usr/bin/env bash
# A rare class, without and with weights: CP adapters on pairs of data/paraphrases, 3 % of which have label 1. Macro F1 and
# average precision on the validation set, which stays balanced; seeds 1 to 3; one table at the end.
#   bash results/imbalance.sh OUTPUT_DIR [PAIRS [further flags of run_glue_tensorized.py]]
# PAIRS is the number of training pairs, 2474 (all with label 0) if not given. The same command again goes on where it was.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: bash $0 OUTPUT_DIR [PAIRS [further flags of run_glue_tensorized.py]]" >&2; exit 2; }
output=$(realpath -m "$1") pairs=${2:-2474}
further=("${@:3}")
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/setup.sh"
use_python
data=$repository/data/paraphrases
model=$("$python" -m tensorized_adapters.embedded)

mkdir -p "$output"
"$python" - "$data/train.csv" "$output/train.csv" "$pairs" << 'END'
import csv, sys

with open(sys.argv[1], newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
rare = round(int(sys.argv[3]) * 0.03)
kept = [row for row in rows if row["label"] == "0"][: int(sys.argv[3]) - rare]
kept += [row for row in rows if row["label"] == "1"][:rare]
with open(sys.argv[2], "w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(kept)
END

for seed in 1 2 3; do
  for weights in none balanced; do
    loss=(--class_weights "$weights")
    [ "$weights" != none ] || loss=()
    "$python" "$repository/run_glue_tensorized.py" --model_name_or_path "$model" --task_name mrpc --do_train --do_eval \
      --train_file "$output/train.csv" --validation_file "$data/validation.csv" --metric_name f1_macro,average_precision \
      --adapter_projection_type cp --tensorized_layer_rank 4 --per_device_train_batch_size 32 --num_train_epochs 3 \
      --eval_strategy no --save_strategy no --cpu_threads 1 --max_train_metric_samples 200 \
      --seed "$seed" --output_dir "$output/$weights-$seed" "${loss[@]}" "${further[@]}"
  done
done
"$python" -m tensorized_adapters report "$output" --output_dir "$output/report"
