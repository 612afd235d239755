#!/usr/bin/env bash
# Runs the paper's experiment: cp, tucker, tt and tr at ranks 2 and 4, and every baseline, on MRPC, RTE and STS-B, 20 epochs,
# batches of 32, three seeds; then the report with the published numbers beside ours. The same command again goes on.
#   bash scripts/reproduce_tables.sh [--model bert-base-cased] [--quick] [--output_dir DIR] [flags of the sweep or the job]
# --quick takes MiniLM (unless --model is given), one seed, 128 examples and one epoch a task: a trial of the path, whose
# numbers mean nothing.
# Without a hub, give a model's folder and --glue_path FOLDER. --adapter_init published takes the paper's own start.
set -euo pipefail
case " $* " in *" --help "* | *" -h "*) sed -n '2,7s/^# //p' "$0"; exit 0 ;; esac
source "$(dirname "$0")/setup.sh"
use_python

model="" quick="" output=runs/reproduction flags=()
while [ $# -gt 0 ]; do
    case $1 in
        --quick) quick=yes ;;
        --model | --model_name_or_path | --output_dir)
            [ $# -gt 1 ] || { echo "error: $1 needs a value" >&2; exit 2; }
            if [ "$1" = --output_dir ]; then output=$2; else model=$2; fi
            shift ;;
        --model=* | --model_name_or_path=*) model=${1#*=} ;;
        --output_dir=*) output=${1#*=} ;;
        *) flags+=("$1") ;;
    esac
    shift
done
size=(--num_train_epochs 20 --seeds 1,2,3)
if [ -n "$quick" ]; then
    size=(--num_train_epochs 1 --seeds 1 --max_train_samples 128 --max_eval_samples 128)
    model=${model:-$(cd "$repository" && "$python" -m tensorized_adapters.embedded)}
fi

cd "$caller" # relative paths are the caller's
status=0
"$python" -m tensorized_adapters sweep --model_name_or_path "${model:-bert-base-cased}" \
    --projection_types cp,tucker,tt,tr --ranks 2,4 \
    --methods dense,compacter,bitfit,layer_norm,head,lora,diff_pruning,full --tasks mrpc,rte,stsb \
    "${size[@]}" --output_dir "$output" --no_report ${flags[@]+"${flags[@]}"} || status=$?
[ "$status" -le 1 ] || exit "$status"
case " ${flags[*]-} " in *" --dry_run "*) exit "$status" ;; esac
"$python" -m tensorized_adapters report "$output" --output_dir "$output/report" --published
exit "$status"
