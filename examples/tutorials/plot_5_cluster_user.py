"""
For cluster users: a run on several ranks
=========================================

From a program on one core to a job on many: what changes in the program, which grid to take, and how to keep
a long run. Nothing here needs MPI but the second part.
"""

# %%
# The program
# -----------
# One argument makes a program parallel: ``comm=pint.world()``. Without MPI it is a communicator of one rank,
# so that the same file runs everywhere. Only rank 0 prints. Of what a result has, ``result.objective`` and the messages
# are the same on all ranks. ``result.control["u"]`` has the steps of its own rank; ``result.control.gather()`` returns
# those of all ranks on each, and ``result.states()`` all states on rank 0, None elsewhere. Both are collective: call
# them on every rank, outside of ``if comm.rank == 0``.

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import pint
from problems.peaks import generate
from problems.resnet import DenseNetwork

PROGRAM = """
import pint
from problems.ode import PROBLEMS

comm = pint.world()
oscillator = PROBLEMS["oscillator"]()
grid = pint.TimeGrid.uniform(oscillator.T, 1024, coarsening=16, levels=2, comm=comm)
functional = pint.ReducedFunctional(oscillator.problem(), grid)
result = pint.minimize(functional, method=pint.Adaptive(gradient_tolerance=1e-6))
if comm.rank == 0:
    print(f"{comm.size} rank(s): J = {result.objective:.10f}, {result.status.name}")
"""

# %%
# Run it
# ------
# ``make environment`` makes ``.venv-petsc``, whose MPI and mpi4py fit; the file ``.venv-petsc/mpiexec`` names its
# ``mpiexec``:
#
# .. code-block:: sh
#
#     export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
#     $(cat .venv-petsc/mpiexec) -n 2 .venv-petsc/bin/python oscillator.py
#
# As root, Open MPI wants the two variables that are set below. On a cluster load the MPI module, build mpi4py with it (``pip install --no-binary mpi4py mpi4py``), and
# ask `python -m pint.info` which MPI is seen. The numbers must be the same on all numbers of ranks.

root = Path(pint.__file__).parents[1]
program = Path(tempfile.mkdtemp()) / "oscillator.py"
program.write_text(PROGRAM)
commands = [[sys.executable, str(program)]]
launcher = root / ".venv-petsc" / "mpiexec"
if launcher.exists():
    python = root / ".venv-petsc" / "bin" / "python"
    commands.append([launcher.read_text().strip(), "-n", "2", str(python), str(program)])
else:
    print("no MPI here: run `make environment` first")
environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
environment |= dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")
for command in commands:
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    print(done.stdout or done.stderr)

# %%
# Which grid on how many ranks?
# -----------------------------
# `measure` takes the time of this machine's steps, `suggest` the best levels and coarsening factors for a number of
# ranks: here for a residual network of 2048 layers. Do this before you ask for ranks. On one rank cycles gain
# where many small steps of numpy become one call, so that the gain over sequential steps is not all due to ranks:
# ``gain_of_ranks`` compares with the fastest on one rank.

network = DenseNetwork(features=2, width=8, classes=5)
problem = network.problem(*generate(500, seed=1))
functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(5.0, 32))
costs = pint.model.measure(problem, network.random_control(functional.controls, seed=0))
ranks = [1, 4, 16, 64]
found = [pint.model.suggest(costs, steps=2048, ranks=P, most_levels=3) for P in ranks]
for P, one in zip(ranks, found, strict=True):
    print(
        f"{P} ranks: {one.best.gain:.1f} times as fast as sequential steps, "
        f"{one.gain_of_ranks:.1f} times as fast as one rank at its best"
    )

# %%
# These are updates of `pint.Lagged`, one cycle each. Give ``cycles=2`` for `pint.OneShot(2)`, and a diagnosis,
# ``diagnosis=pint.diagnose(functional)``, for solves to a tolerance as in `pint.ReducedSpace`: they gain least. At
# its end a run solves once more by sequential steps, to be exact, and that is not faster on many ranks. Where your
# steps can be compiled, ``problem(backend="compiled")``, measure those: what one core does with them may be more than
# 64 ranks do with numpy.

# %%
# A job
# -----
# One BLAS thread a rank. ``--checkpoint`` saves the run at intervals, and at the signal before the time limit;
# ``--resume`` continues it, with the same numbers on as many ranks. Where there is no checkpoint, ``--resume`` is an
# error. With the test below the same script begins the run, and continues it as often as you submit it:
#
# .. code-block:: sh
#
#     #SBATCH --ntasks=64 --cpus-per-task=1 --signal=TERM@120
#     export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
#     srun python examples/ode_control.py --problem van-der-pol --steps 65536 --method one-shot \
#         --coarsening 64 --checkpoint run.npz --json result.json $(test -f run.npz && echo --resume)
#
# In a program of your own it is one line:
#
# .. code-block:: python
#
#     checkpoint = pint.Checkpoint("run.npz", resume=Path("run.npz").exists())
#     result = pint.minimize(functional, start, pint.OneShot(2), checkpoint=checkpoint)

# %%
# Look at it
# ----------
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.loglog(ranks, [one.best.gain for one in found], "o-", label="than sequential steps")
axes.loglog(ranks, [one.gain_of_ranks for one in found], "s-", label="than one rank at its best")
axes.set(xlabel="ranks", ylabel="times faster", title="an update, predicted, 2048 layers")
axes.legend()
plt.show()

# %%
# Where to go from here
# ---------------------
# :doc:`/performance_model` says what the model knows, :doc:`/checkpoints` what is saved, :doc:`/memory` what a rank
# holds, :doc:`/when_not` when to leave it.
