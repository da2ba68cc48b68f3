"""Programs that run as processes of their own, on two ranks where there is MPI."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECONDS = 60  # to start Python several times on a busy machine; a hang has no end


def start(*command, **options):
    """Start a program in a session of its own; its output is in the process's `stdout`."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        # More ranks than cores, and as root, which Open MPI refuses unless told.
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def wait(process):
    """Return a program's exit status and all that it printed. It never outlives the test."""
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"no end after {SECONDS} s:\n{output}")
    return process.returncode, output


def run(*command):
    """Run a program; return its exit status and all that it printed."""
    return wait(start(*command))


def wait_for(happened, process):
    """Wait until `happened()` is true, and return its value."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        value = happened()
        if value:
            return value
        if process.poll() is not None:
            pytest.fail(f"the program ended before:\n{process.communicate()[0]}")
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail(f"nothing after {SECONDS} s:\n{process.communicate()[0]}")


@cache
def launcher():
    """Return the command that starts two ranks; empty, for one rank, where there is no MPI."""
    if importlib.util.find_spec("mpi4py") is None:
        return []
    import mpi4py

    beside = str(Path(mpi4py.get_config().get("mpicc", "")).parent)
    for path in (beside, None):
        found = shutil.which("mpiexec", path=path)
        probe = "from mpi4py import MPI; assert MPI.COMM_WORLD.size == 2"
        if found and run(found, "-n", "2", sys.executable, "-c", probe)[0] == 0:
            return [found, "-n", "2"]
    return []
