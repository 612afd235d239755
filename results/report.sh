#!/usr/bin/env bash
# Tables and figures of the committed records, one report a stage:  bash results/report.sh [OUTPUT_DIR]
set -euo pipefail
source "$(dirname "$0")/../scripts/setup.sh"
use_python
output=$(cd "$caller" && realpath -m "${1:-$repository/runs/evidence}")
for stage in results/*/; do
  stage=$(basename "$stage")
  echo "== $stage"
  "$python" scripts/report.py "results/$stage" --output_dir "$output/$stage"
done
