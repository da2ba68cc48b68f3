"""A slow optimisation with a checkpoint, to be killed: ``checkpoint_program.py FOLDER [MODE...]``.

Each rank writes its process id to FOLDER/rank<r>. Modes: ``resume``; ``newton`` takes Gauss-Newton;
``full`` limits the size of files after five updates; ``callback`` fails in the callback of the
last rank, ``history`` in that of the first, which writes the history to a folder that is not
there.
"""

import os
import resource
import sys
import time
from pathlib import Path

from checkpoint_cases import bounded, ending

import pint

PAUSE = float(os.environ.get("PAUSE", "0.01"))
folder, modes = Path(sys.argv[1]), sys.argv[2:]
comm = pint.world()
functional, start = bounded(2, comm)
path = folder / "run.npz"


def callback(iterate, control, state):
    time.sleep(PAUSE)
    if "callback" in modes and iterate.iteration == 5 and comm.rank == comm.size - 1:
        raise RuntimeError("the user's mistake")
    if "history" in modes and iterate.iteration == 5 and comm.rank == 0:
        pint.write_history(folder / "missing" / "history.csv", [iterate])
    if "full" in modes and iterate.iteration == 5:
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))


(folder / f"rank{comm.rank}.part").write_text(str(os.getpid()), encoding="utf-8")
(folder / f"rank{comm.rank}.part").rename(folder / f"rank{comm.rank}")
checkpoint = pint.Checkpoint(path, interval=0, resume="resume" in modes)
method = pint.OneShot(iterations=200, gradient_tolerance=1e-10)
if "newton" in modes:
    method = pint.GaussNewton()
result = pint.minimize(functional, start, method, callback=callback, checkpoint=checkpoint)
status, updates, numbers = ending(result)
# At once, so that the lines of several ranks do not mix.
os.write(1, f"rank {comm.rank}: {status} after {updates}: {numbers}\n".encode())
