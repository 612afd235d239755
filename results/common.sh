# Sourced by the scripts beside it, which are called SCRIPT GLUE_FOLDER OUTPUT_DIR [further flags of tensorized-adapters sweep]:
# the setting "low-resource" of PROTOCOL_minilm.md. The same command again goes on where it was.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: bash $0 GLUE_FOLDER OUTPUT_DIR [further flags of tensorized-adapters sweep]" >&2; exit 2; }
glue=$(realpath "$1") output=$(realpath -m "$2")
shift 2
further=("$@")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh
use_python
model=$("$python" -m tensorized_adapters.embedded)

sweep() { # sweep NAME FLAGS...: into OUTPUT_DIR/NAME; later flags win, so these can be varied
  local name=$1
  shift
  "$python" -m tensorized_adapters sweep --output_dir "$output/$name" --glue_path "$glue" --model_name_or_path "$model" \
    --tasks cola,stsb,mrpc --max_train_samples 1000 --shuffle_train_dataset False --num_train_epochs 10 --per_device_train_batch_size 32 \
    --max_seq_length 128 --bf16 --save_strategy steps --save_steps 80 --cpus_per_trial 1 --no_report \
    --do_train --do_eval "$@" "${further[@]}"
}
