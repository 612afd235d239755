# Sourced by the scripts beside it: the setting "low-resource" of PROTOCOL_minilm.md.
source "$(dirname "${BASH_SOURCE[0]}")/arguments.sh"
model=$("$python" -m tensorized_adapters.embedded)
settings=(--tasks cola,stsb,mrpc --max_train_samples 1000 --shuffle_train_dataset False --num_train_epochs 10
  --max_seq_length 128 --bf16 --save_strategy steps --save_steps 80)
