"""An exception on one rank ends the run on all of them, soon and with its message."""

import shutil
import sys

import pytest
from programs import ROOT, launcher, run

PROGRAM = """
import sys
import pint
import registry

comm = pint.world()
where = sys.argv[1]

def mistake(*arguments, **options):
    if comm.rank == comm.size - 1:
        raise RuntimeError("the user's mistake")
    return None

class Stepper(registry.Pendulum):
    def step(self, s, *arguments, **options):
        if where == "step" and s.level == 0 and (s.index == 15).any():
            raise RuntimeError("the user's mistake")
        return super().step(s, *arguments, **options)

stepper = Stepper()
grid = pint.TimeGrid.uniform(1.0, 16, coarsening=2, levels=3, comm=comm)
controls = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
adjoint, objective = registry.PendulumAdjoint(stepper), registry.RunningCost()
if where == "adjoint":
    adjoint.vjp = mistake
if where == "objective":
    objective.terminal = mistake
problem = pint.Problem(stepper, adjoint, objective, controls)
functional = pint.ReducedFunctional(problem, grid)
callback = mistake if where == "callback" else None
start, method = functional.control(theta=0.5), pint.ReducedSpace(iterations=3)
if where == "grid":
    functional.on = mistake
    method = pint.Nested([grid], method)
pint.minimize(functional, start, method, callback=callback)
print("came to an end")
"""


@pytest.mark.parametrize("where", ["step", "adjoint", "objective", "callback", "grid"])
def test_a_mistake_in_the_users_code(where):
    status, output = run(*launcher(), sys.executable, "-c", PROGRAM, where)
    assert status != 0, output
    assert "RuntimeError: the user's mistake" in output
    assert "came to an end" not in output


ON_ROOT = """
import pint
from pint.comm import on_root

def mistake():
    raise RuntimeError("of a kind that is not handed on")

on_root(pint.world(), mistake)
"""


def test_a_mistake_while_rank_0_works_for_all():
    status, output = run(*launcher(), sys.executable, "-c", ON_ROOT)
    assert status != 0, output
    assert "RuntimeError: of a kind that is not handed on" in output


def test_the_same_program_without_a_mistake():
    status, output = run(*launcher(), sys.executable, "-c", PROGRAM, "nowhere")
    assert status == 0, output
    assert output.count("came to an end") == (2 if launcher() else 1)


def test_a_test_that_fails_on_one_rank(tmp_path):
    """The hook of tests/parallel: the other rank waits for a message, and is ended."""
    shutil.copy(ROOT / "tests" / "parallel" / "conftest.py", tmp_path)
    (tmp_path / "test_one_rank.py").write_text(
        "def test_one_rank(world):\n"
        "    assert world.rank != world.size - 1, 'the last rank fails'\n"
        "    world.Barrier()\n",
        encoding="utf-8",
    )
    options = ("-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path))
    status, output = run(*launcher(), sys.executable, "-m", "pytest", *options, str(tmp_path))
    assert status != 0, output
    assert "the last rank fails" in output
