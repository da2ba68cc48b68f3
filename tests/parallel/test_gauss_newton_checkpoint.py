"""A run of Gauss-Newton goes on on as many ranks as there are, and on others."""

import os
import signal
from functools import cache

import numpy as np
import pytest
import sympy

import pint
from pint.comm import on_root
from pint.steppers.symbolic import SympyODE
from problems.ode_catalogue import CATALOGUE

SAVED = 3


def shared():
    y, u, rate = sympy.symbols("y u rate")
    ode = SympyODE(
        [y], [u - rate * y], {"u": u}, parameters={"rate": rate}, initial_state=[1.5],
        running_cost=(y - 1) ** 2 + u**2, terminal_cost=(rate - 1) ** 2 + y**4,
    )  # fmt: skip
    return ode.problem("rk4", controls={"u": (-0.1, 0.4), "rate": (0.0, 0.8)})


ONE = CATALOGUE["attitude"]
PROBLEMS = {"attitude": (ONE.problem("rk4"), ONE.final_time), "shared": (shared(), 1.0)}


@pytest.fixture
def folder(world, tmp_path_factory):
    """Return a folder that all ranks share."""
    return on_root(world, lambda: tmp_path_factory.mktemp("checkpoint"))


def solve(name, steps, comm, checkpoint=None, callback=None, **options):
    problem, final_time = PROBLEMS[name]
    functional = pint.ReducedFunctional(
        problem, pint.TimeGrid.uniform(final_time, steps, comm=comm)
    )
    start = ONE.start(functional.controls) if name == "attitude" else None
    method = pint.GaussNewton(**options)
    return pint.minimize(functional, start, method, callback=callback, checkpoint=checkpoint)


def everything(result):
    """Return all numbers of a result, those of all ranks together. Collective."""
    comm, details = result.functional.comm, result.all_at_once
    points = np.array(result.state.points)[0 if comm.rank == 0 else 1 :]
    parts = [comm.allgather(one) for one in (details.gains, details.multipliers, points)]
    ending = result.status, result.iterations
    return ending, {
        "rows": [(row.objective, row.gradient_norm, row.step) for row in result.history],
        "counts": [(row.line_search_trials, row.iteration) for row in result.history],
        "states": np.concatenate(parts[2]),
        "gains": np.concatenate(parts[0]),
        "multipliers": np.concatenate(parts[1]),
        **result.control.gather(),
    }


def compare(resumed, whole, tolerance):
    """Compare two runs, of which we have `everything`."""
    (ending, found), (expected_ending, expected) = resumed, whole
    assert ending == expected_ending
    for name, values in expected.items():
        scale = np.abs(values).max(initial=0.0)
        np.testing.assert_allclose(
            found[name], values, rtol=0, atol=tolerance * scale, err_msg=name
        )


SERIAL = pint.SerialComm()
CASES = [("attitude", 12), ("shared", 2)]


@cache
def whole_run(name, steps, alone):
    """Return everything of the uninterrupted run, on one rank or on all. Collective."""
    world = pint.world()
    if alone:
        return on_root(world, lambda: everything(solve(name, steps, SERIAL)))
    return everything(solve(name, steps, world))


@pytest.mark.parametrize(("name", "steps"), CASES)
def test_from_and_to_any_number_of_ranks(world, folder, name, steps):
    """To the last bit on as many ranks as before."""
    of_world, of_one, copy = (folder / f"{name}.npz" for name in ("world", "one", "copy"))
    solve(name, steps, world, pint.Checkpoint(of_world), iterations=SAVED)

    def resumed(path, comm):
        return everything(solve(name, steps, comm, pint.Checkpoint(path, resume=True)))

    def on_one_rank():
        solve(name, steps, SERIAL, pint.Checkpoint(of_one), iterations=SAVED)
        copy.write_bytes(of_world.read_bytes())
        return resumed(copy, SERIAL)

    whole = whole_run(name, steps, True)
    compare(on_root(world, on_one_rank), whole, 1e-10)
    compare(resumed(of_one, world), whole, 1e-10)
    same_ranks = resumed(of_world, world)
    compare(same_ranks, whole, 1e-10)
    compare(same_ranks, whole_run(name, steps, False), 0.0)


def test_saved_on_two_ranks_resumed_on_all(world, folder):
    if world.size < 3:
        pytest.skip("is for more than two ranks")
    few, path = world.Split(0 if world.rank < 2 else 1, world.rank), folder / "two.npz"
    if world.rank < 2:
        solve("shared", 7, few, pint.Checkpoint(path), iterations=SAVED)
    world.Barrier()
    resumed = solve("shared", 7, world, pint.Checkpoint(path, resume=True))
    compare(everything(resumed), whole_run("shared", 7, True), 1e-10)
    few.Free()


def test_a_signal_to_one_rank_ends_all(world, folder):
    """After the first row, which has no gains."""

    def callback(iterate, control, state):
        if world.rank == world.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    path = folder / "run.npz"
    first = solve("attitude", 12, world, pint.Checkpoint(path), callback)
    assert (first.status, first.iterations) == (pint.Status.INTERRUPTED, 0)
    resumed = solve("attitude", 12, world, pint.Checkpoint(path, resume=True))
    compare(everything(resumed), whole_run("attitude", 12, False), 0.0)


def test_every_rank_refuses_alike(world, folder):
    path = folder / "run.npz"
    solve("shared", 2, world, pint.Checkpoint(path), iterations=0)

    def refused(match, **options):
        with pytest.raises(pint.CheckpointError, match=match) as caught:
            solve("shared", 2, world, pint.Checkpoint(path, resume=True), **options)
        assert set(world.allgather(str(caught.value))) == {str(caught.value)}

    refused("`hessian`", hessian="gauss-newton")
    content = path.read_bytes()
    world.Barrier()
    on_root(world, lambda: path.write_bytes(content[:-30]))
    refused("not a readable")
