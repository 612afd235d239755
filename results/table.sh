#!/usr/bin/env bash
# The table of PROTOCOL_minilm.md: every method at the learning rate that rates.sh chose, seeds 1 to 3.
source "$(dirname "$0")/common.sh"

adapters=(--seeds 1,2,3 --measure_contribution) controls=(--seeds 1,2,3 --projection_types none)
sweep cp "${adapters[@]}" --projection_types cp --ranks 16 --learning_rates 2e-3
sweep layer_norm "${controls[@]}" --methods layer_norm --learning_rates 1e-3
sweep bitfit "${controls[@]}" --methods bitfit --learning_rates 2e-3
sweep lora "${controls[@]}" --methods lora --learning_rates 1e-3
sweep full "${controls[@]}" --methods full --learning_rates 5e-5
sweep dense "${adapters[@]}" --projection_types none --methods dense --learning_rates 1e-3
sweep tucker "${adapters[@]}" --projection_types tucker --ranks 8 --learning_rates 2e-3
sweep tt "${adapters[@]}" --projection_types tt --ranks 8 --learning_rates 1e-3
sweep tr "${adapters[@]}" --projection_types tr --ranks 4 --learning_rates 1e-3
