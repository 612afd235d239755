#!/usr/bin/env bash
# Tables and figures of the committed records, one report a stage:  bash results/report.sh [OUTPUT_DIR]
set -euo pipefail
source "$(dirname "$0")/../scripts/setup.sh"
use_python
output=$(cd "$caller" && realpath -m "${1:-$repository/runs/evidence}")
for stage in results/*/; do
  compgen -G "$stage*/run.json" > /dev/null || continue  # other folders hold programs, or no runs
  stage=$(basename "$stage")
  echo "== $stage"
  "$python" -m tensorized_adapters report "results/$stage" --output_dir "$output/$stage"
done
for record in results/compression/*.json; do
  [ -e "$record" ] || continue
  name=$(basename "$record" .json)
  echo "== compression of $name"
  "$python" results/study_compression.py --record "$record" --output_dir "$output/compression/$name"
done
