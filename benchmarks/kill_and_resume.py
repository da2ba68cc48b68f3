"""Kill a two-rank run with SIGKILL at random moments; resume each from what it has saved.

The double integrator of ``docs/examples`` on 2000 steps is minimised one-shot, with a checkpoint
after every update. Each time all ranks are killed at a random moment after the first file; the file
must load, and the resumed run must end, converged, with the objective and the control of a run that
nothing interrupted. Prints a line for each kill; the exit status is 1 if one of them fails.

    python benchmarks/kill_and_resume.py [--kills 30] [--seed 0] [--mpiexec mpiexec]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "examples")]

from double_integrator import problem  # noqa: E402

import pint  # noqa: E402

RANKS = 2
TOLERANCE = 1e-8
SECONDS = 120


def optimise(folder: Path, resume: bool) -> None:
    """Run on this rank, save what it ends with, and remove the mark of a living rank."""
    comm = pint.world()
    (folder / f"rank{comm.rank}").write_text(str(os.getpid()), encoding="utf-8")
    grid = pint.TimeGrid.uniform(1.0, 2000, coarsening=20, levels=2, comm=comm)
    result = pint.minimize(
        pint.ReducedFunctional(problem, grid),
        method=pint.OneShot(cycles=2, iterations=200, gradient_tolerance=1e-9),
        checkpoint=pint.Checkpoint(folder / "run.npz", interval=0, resume=resume),
    )
    result.control.save(folder / "control.npz")
    if comm.rank == 0:
        row = result.history[-1]
        summary = [result.status.name, result.iterations, result.objective, row.seconds]
        (folder / "result.json").write_text(json.dumps(summary), encoding="utf-8")


def start(mpiexec: str, folder: Path, *more: str) -> subprocess.Popen:
    """Start the run on two ranks."""
    environment = {
        **os.environ,
        "OPENBLAS_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    command = [mpiexec, "-n", str(RANKS), sys.executable, __file__, "--run", str(folder), *more]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen) -> str:
    """Wait for a run, and return what it printed; one that hangs is an error."""
    try:
        return process.communicate(timeout=SECONDS)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"no end after {SECONDS} s\n" + process.communicate()[0]


def ended_with(folder: Path) -> tuple[str, int, float, float, np.ndarray]:
    """Return status, updates, objective, seconds and control of a run that came to its end."""
    status, updates, objective, seconds = json.loads((folder / "result.json").read_text())
    with np.load(folder / "control.npz") as archive:
        return status, updates, objective, seconds, archive["force"]


def kill(process: subprocess.Popen, folder: Path, delay: float) -> None:
    """Kill all ranks, `delay` seconds after the first checkpoint."""
    while not (folder / "run.npz").exists() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    for rank in range(RANKS):
        with contextlib.suppress(ProcessLookupError):
            pid = int((folder / f"rank{rank}").read_text(encoding="utf-8"))
            os.kill(pid, signal.SIGKILL)
    end(process)


def trial(mpiexec: str, delay: float, whole: tuple) -> tuple[str, bool]:
    """Kill and resume one run; return a line of the table, and whether all is well."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kill(start(mpiexec, folder), folder, delay)
        late, half = (folder / "result.json").exists(), len(list(folder.glob(".pint.*")))
        with np.load(folder / "run.npz") as archive:
            updates = len(json.loads(str(archive["history"]))) - 1
        output = end(start(mpiexec, folder, "--resume"))
        try:
            status, total, objective, _, control = ended_with(folder)
        except OSError:
            return output, False
        left = len(list(folder.glob(".pint.*")))
    objective_error = abs(objective / whole[2] - 1)
    control_error = abs(control - whole[4]).max() / abs(whole[4]).max()
    good = status == whole[0] and max(objective_error, control_error) < TOLERANCE and not left
    return (
        f"{delay:8.3f}  {updates:7d}  {half:10d}  {status:>9}  {total:7d}  {objective_error:9.1e}"
        f"  {control_error:9.1e}  {'killed too late' if late else 'ok' if good else 'FAILED'}"
    ), good and not late


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mpiexec", default="mpiexec")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run is not None:
        optimise(options.run, options.resume)
        return 0

    with tempfile.TemporaryDirectory() as name:
        output = end(start(options.mpiexec, Path(name)))
        try:
            whole = ended_with(Path(name))
        except OSError:
            print(output)
            return 1
    print(f"uninterrupted: {whole[0]} after {whole[1]} updates, J = {whole[2]:.12e}")
    print("delay(s)  updates  half files     status    total  error(J)   error(u)")
    generator, good = random.Random(options.seed), 0
    while good < options.kills:
        line, well = trial(options.mpiexec, generator.uniform(0.0, 0.8 * whole[3]), whole)
        print(line, flush=True)
        if not well and "too late" not in line:
            return 1
        good += well
    print(f"{good} of {options.kills} runs resumed and ended at the same optimum")
    return 0


if __name__ == "__main__":
    sys.exit(main())
