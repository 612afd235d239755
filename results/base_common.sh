# Sourced by the base_*.sh beside it, which are called SCRIPT GLUE_FOLDER OUTPUT_DIR [further flags of the sweep]: the
# model and settings of PROTOCOL.md. The same command again goes on where it was.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: bash $0 GLUE_FOLDER OUTPUT_DIR [further flags of tensorized-adapters sweep]" >&2; exit 2; }
glue=$(realpath "$1") output=$(realpath -m "$2")
shift 2
further=("$@")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh
use_python
model=$("$python" -m tensorized_adapters.embedded mpnet-base)

sweep() { # sweep NAME FLAGS...: into OUTPUT_DIR/NAME; later flags win, so these can be varied
  local name=$1
  shift
  "$python" -m tensorized_adapters sweep --output_dir "$output/$name" --glue_path "$glue" --model_name_or_path "$model" \
    --per_device_train_batch_size 32 --max_seq_length 64 --save_strategy no --cpus_per_trial 1 --no_report \
    --do_train --do_eval "$@" "${further[@]}"
}
