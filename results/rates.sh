#!/usr/bin/env bash
# Step 1 of PROTOCOL.md: each method at half, one and two times its default learning rate, on 1,000 training pairs.
#
#   bash results/rates.sh GLUE_FOLDER OUTPUT_DIR [further flags of scripts/sweep.py]
#
# The same command again goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
glue=$1 output=$2
shift 2
python=${PYTHON:-.venv/bin/python}

sweep() {
  local name=$1
  shift
  "$python" scripts/sweep.py --tasks cola,stsb,mrpc --glue_path "$glue" --seeds 11 --output_dir "$output/$name" \
    --max_train_samples 1000 --num_train_epochs 10 --per_device_train_batch_size 32 --max_seq_length 128 --bf16 \
    --save_strategy steps --save_steps 80 --cpus_per_trial 1 --no_report "${common[@]}" "$@"
}

common=(--model_name_or_path "$("$python" -m tensorized_adapters.embedded)" --do_train --do_eval "$@")
sweep tensorized_8 --projection_types tt,tucker --ranks 8 --learning_rates 1e-3,2e-3,4e-3
sweep tensorized_16 --projection_types cp --ranks 16 --learning_rates 1e-3,2e-3,4e-3
sweep tensorized_4 --projection_types tr --ranks 4 --learning_rates 1e-3,2e-3,4e-3
sweep small --projection_types none --methods layer_norm,bitfit,lora --learning_rates 1e-3,2e-3,4e-3
sweep dense --projection_types none --methods dense --learning_rates 5e-4,1e-3,2e-3
sweep full --projection_types none --methods full --learning_rates 2.5e-5,5e-5,1e-4
