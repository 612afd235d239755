"""results/report.sh reports every folder of committed records, and passes over folders without any."""

import os
import subprocess
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results"


def test_each_folder_of_records_is_reported(tmp_path):
    python, calls = tmp_path / "python", tmp_path / "calls"
    python.write_text(f'#!/bin/bash\n[ "$1" = -c ] || echo "$*" >> {calls}\n')  # -c asks for the packages
    python.chmod(0o755)
    words = ["bash", RESULTS / "report.sh", tmp_path / "out"]
    subprocess.run(words, env=os.environ | {"PYTHON": str(python)}, cwd=tmp_path, check=True)
    reported = {line.split()[3] for line in calls.read_text().splitlines() if line.startswith("-m")}
    assert reported == {f"results/{record.parents[1].name}" for record in RESULTS.glob("*/*/run.json")}
    assert "results/base_defaults" in reported and (RESULTS / "compression_study").is_dir()
    assert "study_compression.py --record" in calls.read_text()
