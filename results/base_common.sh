# Sourced by the base_*.sh beside it: the model and settings of PROTOCOL.md.
source "$(dirname "${BASH_SOURCE[0]}")/arguments.sh"
model=$("$python" -m tensorized_adapters.embedded mpnet-base)
settings=(--max_seq_length 64 --save_strategy no)
