#!/usr/bin/env bash
# The part "Collapse" of PROTOCOL.md: each format at ranks 1, 2, 4, 8 and 16 (where it can use them), at the default
# learning rate and at twice it, on 1,000 training examples of each task, 3 epochs, seed 11.
#
#   bash results/collapse.sh GLUE_FOLDER OUTPUT_DIR TASK[,TASK...] [further flags of scripts/sweep.py]
#
# The same command again goes on where it was, and a flag given again wins: `--max_train_samples 6000
# --num_train_epochs 2` is the longer run that tr-8 once collapsed in on SST-2, `--projection_types tr --ranks 15` the
# largest ring on the packaged model. A run has collapsed if its last score is that of a constant prediction (F1 or
# accuracy of the majority class, a correlation below 0.1) although its training loss had fallen below its start's: a
# task that is not learnt at all in this time, as CoLA, shows nothing. Scores and losses are in OUTPUT_DIR/report.
set -euo pipefail
cd "$(dirname "$0")/.."
glue=$1 output=$2 tasks=$3
shift 3
python=${PYTHON:-.venv/bin/python}

"$python" scripts/sweep.py --projection_types cp,tucker,tt,tr,matrix --ranks 1,2,4,8,16 --learning_rates 2e-3,4e-3 \
  --tasks "$tasks" --glue_path "$glue" --seeds 11 --output_dir "$output" \
  --model_name_or_path "$("$python" -m tensorized_adapters.embedded)" --do_train --do_eval \
  --max_train_samples 1000 --num_train_epochs 3 --per_device_train_batch_size 32 --max_seq_length 128 --bf16 \
  --cpus_per_trial 1 "$@"
