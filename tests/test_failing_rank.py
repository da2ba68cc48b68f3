"""An exception on one rank ends the run on all of them, soon and with its message."""

import itertools
import os
import shutil
import sys

import pytest
from programs import ROOT, launcher, run

PROGRAM = """
import sys
import pint
from pendulum_cases import Pendulum, PendulumAdjoint, RunningCost

comm = pint.world()
where, kind = sys.argv[1], sys.argv[2]

class Own(BaseException):
    pass

errors = {"Own": Own, "NumericalError": pint.NumericalError, "NotFiniteError": pint.NotFiniteError,
          "CheckpointError": pint.CheckpointError}
error = errors[kind] if kind in errors else getattr(__builtins__, kind)

def mistake(*arguments, **options):
    if comm.rank == comm.size - 1:
        raise error("the user's mistake")

def made(place, kind):
    class Made(kind):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            if where == "constructor" and place == "stepper":
                mistake()
    return Made

class Stepper(made("stepper", Pendulum)):
    def step(self, s, *arguments, **options):
        if where == "step" and s.level == 0 and (s.index == 15).any():
            mistake()
        return super().step(s, *arguments, **options)

    def initial(self, theta):
        if where == "initial":
            mistake()
        return super().initial(theta)

    def coarsen(self, level):
        if where == "coarsen":
            mistake()
        return super().coarsen(level)

class Term(pint.Regulariser):
    def value(self, control):
        if where == "regulariser":
            mistake()
        return 0.0

    def derivative(self, control):
        return control.space.zeros()

stepper = Stepper()
grid = pint.TimeGrid.uniform(1.0, 16, coarsening=2, levels=3, comm=comm)
controls = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
adjoint, objective = PendulumAdjoint(stepper), RunningCost()
if where == "adjoint":
    vjp = adjoint.vjp
    adjoint.vjp = lambda *arguments: mistake() or vjp(*arguments)
if where == "objective":
    objective.terminal = mistake
problem = pint.Problem(stepper, adjoint, objective, controls, [Term()])
functional = pint.ReducedFunctional(problem, grid)
callback = mistake if where == "callback" else None
if where == "between":
    mistake()
start, method = functional.control(theta=0.5), pint.ReducedSpace(iterations=3)
if where == "grid":
    functional.on = mistake
    method = pint.Nested([grid], method)
pint.minimize(functional, start, method, callback=callback)
print("came to an end")
"""

PLACES = (
    "step adjoint objective regulariser initial coarsen callback grid constructor between".split()
)
KINDS = (
    "ValueError TypeError KeyError RuntimeError OSError MemoryError StopIteration Own "
    "KeyboardInterrupt GeneratorExit NumericalError NotFiniteError CheckpointError"
).split()
# Each place and each kind; all pairs on demand.
PAIRS = [(place, KINDS[index % len(KINDS)]) for index, place in enumerate(PLACES)]
PAIRS += [("step", "CheckpointError"), ("adjoint", "StopIteration"), ("callback", "Own")]
PAIRS += [("initial", "NumericalError"), ("regulariser", "SystemExit")]
if os.environ.get("PINT_ALL_FAILURES"):
    PAIRS = list(itertools.product(PLACES, KINDS))


# With StopIteration a callback asks for the end.
PAIRS = [pair for pair in PAIRS if pair != ("callback", "StopIteration")]


@pytest.mark.parametrize(("where", "kind"), PAIRS)
def test_a_mistake_in_the_users_code(where, kind):
    status, output = run(*launcher(), sys.executable, "-c", PROGRAM, where, kind)
    assert status != 0, output
    assert f"{kind}: the user's mistake" in output or f'{kind}: "the user\'s mistake"' in output
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
    status, output = run(*launcher(), sys.executable, "-c", PROGRAM, "nowhere", "Own")
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
