#!/usr/bin/env bash
# Installs packages into the environment of a Python, with uv where $UV names it, else with pip.
#     tools/install.sh PYTHON PACKAGE...
set -euo pipefail
python=$1
shift
if [ -n "${UV:-}" ] && "$UV" pip install --quiet --python "$python" "$@"; then exit; fi
"$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null
exec "$python" -m pip --disable-pip-version-check install -qq "$@"
