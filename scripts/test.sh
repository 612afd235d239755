#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them, two at a time. Extra arguments go to pytest: bash scripts/test.sh -k restarts
set -euo pipefail
source "$(dirname "$0")/setup.sh"
install_requirements
.venv/bin/ruff check --quiet .
.venv/bin/ruff format --check --quiet .
exec .venv/bin/python -m pytest --numprocesses 2 "$@"
