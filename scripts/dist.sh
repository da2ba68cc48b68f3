#!/usr/bin/env bash
# Build dist/*.tar.gz and, of that, dist/*.whl; test the wheel where the checkout is not.
#   dist.sh TEST...     the tests that need nothing but the installed packages
# The tests are those of the source archive. PYTHON names another Python.
set -euo pipefail
cd "$(dirname "$0")/.."

PIP="-m pip install -qq --disable-pip-version-check"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

new_venv() {
    local python=${PYTHON:-python3}
    "$python" -m venv "$1" 2>/dev/null || "$python" -m virtualenv --quiet "$1"
}

rm -rf dist
new_venv "$folder/build"
"$folder/build/bin/python" $PIP build twine
"$folder/build/bin/python" -m build --outdir dist . >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
"$folder/build/bin/python" -m twine check --strict dist/*

new_venv "$folder/fresh"
wheel=$(echo "$PWD"/dist/*.whl)
"$folder/fresh/bin/python" $PIP "${wheel}[test]"
mkdir "$folder/tests"
tar -xzf dist/*.tar.gz --strip-components=1 -C "$folder/tests"
# Only the tests stay: what they import is the wheel.
cd "$folder/tests"
rm -rf pint problems
"$folder/fresh/bin/python" -m pint.info
"$folder/fresh/bin/python" -c '
import pint, problems, sysconfig
site = sysconfig.get_path("purelib")
assert pint.__file__.startswith(site) and problems.__file__.startswith(site), pint.__file__'
"$folder/fresh/bin/python" -m pytest -n auto --dist worksteal -q -p no:cacheprovider \
    -m "not petsc and not slow" "$@"
