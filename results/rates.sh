#!/usr/bin/env bash
# Step 1 of PROTOCOL_minilm.md: each method at half, one and two times its default learning rate, seed 11.
source "$(dirname "$0")/common.sh"

common=(--seeds 11)
sweep tensorized_8 "${common[@]}" --projection_types tt,tucker --ranks 8 --learning_rates 1e-3,2e-3,4e-3
sweep tensorized_16 "${common[@]}" --projection_types cp --ranks 16 --learning_rates 1e-3,2e-3,4e-3
sweep tensorized_4 "${common[@]}" --projection_types tr --ranks 4 --learning_rates 1e-3,2e-3,4e-3
sweep small "${common[@]}" --projection_types none --methods layer_norm,bitfit,lora --learning_rates 1e-3,2e-3,4e-3
sweep dense "${common[@]}" --projection_types none --methods dense --learning_rates 5e-4,1e-3,2e-3
sweep full "${common[@]}" --projection_types none --methods full --learning_rates 2.5e-5,5e-5,1e-4
