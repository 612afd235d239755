# Sourced by common.sh and base_common.sh: reads the arguments of the scripts that source them, which are called
# SCRIPT GLUE_FOLDER OUTPUT_DIR [further flags of tensorized-adapters sweep]. The same command again goes on where it was.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: bash $0 GLUE_FOLDER OUTPUT_DIR [further flags of tensorized-adapters sweep]" >&2; exit 2; }
glue=$(realpath "$1") output=$(realpath -m "$2")
shift 2
further=("$@")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh
use_python

sweep() { # sweep NAME FLAGS...: into OUTPUT_DIR/NAME, with $model and the flags in settings; later flags win
  local name=$1
  shift
  "$python" -m tensorized_adapters sweep --output_dir "$output/$name" --glue_path "$glue" --model_name_or_path "$model" \
    --per_device_train_batch_size 32 --cpus_per_trial 1 --no_report --do_train --do_eval "${settings[@]}" "$@" "${further[@]}"
}
