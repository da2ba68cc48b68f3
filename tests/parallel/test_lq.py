"""Linear-quadratic problems whose steps are divided among ranks have the solution of one rank."""

import numpy as np
import pytest
import quadratic

import pint
from pint.lq import NotPositiveDefiniteError, solve

WAYS = ["riccati", "scan", "compiled"]


def options(way):
    if way != "compiled":
        return {"method": way, "backend": "numpy"}
    pytest.importorskip("numba")
    return {"method": "riccati", "backend": "compiled"}


def divisions(N, size):
    """Return first steps of the ranks, and the end: even, uneven, and with ranks without steps."""
    even = [N * rank // size for rank in range(size + 1)]
    at_end = [0] * size + [N]
    at_begin = [0] + [N] * size
    few = [min(rank, N) for rank in range(size)] + [N]
    gaps = [0] + [N * (rank // 2) // max(size // 2, 1) for rank in range(1, size)] + [N]
    return {tuple(cuts) for cuts in (even, at_end, at_begin, few, gaps)}


def compare(world, arrays, shared, way, tolerance=1e-12, cases=None):
    """Compare all that a rank gets with its part of the solution of one rank."""
    alone = solve(quadratic.problem(arrays, shared), "riccati", backend="numpy")
    for cuts in sorted(cases or divisions(len(arrays["A"]), world.size)):
        mine = quadratic.problem(arrays, shared, world, list(cuts))
        found = solve(mine, comm=world, **options(way))
        begin, end = cuts[world.rank : world.rank + 2]
        for name in ("u", "K", "k", "x", "multipliers", "P", "p", "theta"):
            whole = getattr(alone, name)
            points = name in ("x", "multipliers", "P", "p")
            own = whole if name == "theta" else whole[begin : end + points]
            assert getattr(found, name).shape == own.shape
            if own.size:
                error = np.abs(getattr(found, name) - own).max() / np.abs(whole).max()
                assert error < tolerance, (name, cuts, error)
        assert found.objective == pytest.approx(alone.objective, rel=tolerance)
        assert found.smallest_pivot == pytest.approx(alone.smallest_pivot, rel=tolerance)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "case",
    [
        (1, 3, 2, 0, False),
        (3, 3, 2, 2, True),
        (23, 3, 2, 0, False),
        (24, 12, 6, 0, False),
        (40, 3, 2, 2, False),
        (30, 3, 2, 0, True),
    ],
)
def test_ranks_agree_with_one(world, case, way):
    *sizes, free = case
    for growth in (1.0, 1.3):
        arrays, shared = quadratic.data(sum(sizes), *sizes, free=free, growth=growth)
        compare(world, arrays, shared, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("weight", [-0.01, 0.0, 1e-12, 1e-6, 1e6])
def test_controls_that_cost_next_to_nothing(world, weight, way):
    """A rank's steps have no minimum of their own, or one far away: it depends on what follows."""
    arrays, _ = quadratic.data(5, 60, 3, 2)
    arrays["R"], arrays["S"] = weight * np.tile(np.eye(2), (60, 1, 1)), 0 * arrays["S"]
    arrays["Q"], arrays["Q_end"] = arrays["Q"] + np.eye(3), np.eye(3)
    compare(world, arrays, None, way)


@pytest.mark.parametrize("way", WAYS)
def test_steps_that_have_a_minimum_only_with_what_follows(world, way):
    """Step 10 gains by its controls what a large cost in the state after it takes away.

    Its P is a small difference of large numbers: the last digits differ even on one rank.
    """
    arrays, _ = quadratic.data(9, 20, 3, 2)
    arrays["S"] = 0 * arrays["S"]
    arrays["Q"], arrays["R"] = arrays["Q"].copy(), arrays["R"].copy()
    for name, weight in (("R", -1.0), ("B", 1e-4), ("A", 1e-2), ("Q", 2e4)):
        arrays[name][10] = weight * np.eye(*arrays[name][10].shape)
    arrays["Q"][11] = 1e10 * np.eye(3)
    cuts = [*[0, 11, 15, 18, 19, 19][: world.size], 20]
    compare(world, arrays, None, way, 1e-9, {tuple(cuts)})


@pytest.mark.parametrize("way", WAYS)
def test_fast_unstable_dynamics(world, way):
    """Products of all A are 1e79; what ranks exchange is stable."""
    arrays, _ = quadratic.data(6, 200, 6, 2, growth=2.5)
    compare(world, arrays, None, way, 1e-11)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", [0, 11, 19])
def test_every_rank_hears_of_the_step_without_a_minimum(world, step, way):
    arrays, _ = quadratic.data(7, 20, 3, 2)
    arrays["R"] = arrays["R"].copy()
    arrays["R"][step] = -1e4 * np.eye(2)
    for cuts in sorted(divisions(20, world.size)):
        mine = quadratic.problem(arrays, None, world, list(cuts))
        with pytest.raises(NotPositiveDefiniteError, match=f"of step {step} ") as error:
            solve(mine, comm=world, **options(way))
        assert error.value.step == step


def test_what_ranks_must_have_alike(world):
    if world.size == 1:
        pytest.skip("needs several ranks")
    arrays, shared = quadratic.data(8, 20, 3, 2, 1)
    cuts = [20 * rank // world.size for rank in range(world.size + 1)]
    other = arrays | {"initial": arrays["initial"] + world.rank}
    with pytest.raises(ValueError, match=r"solve.*initial"):
        solve(quadratic.problem(other, shared, world, cuts), comm=world)
    mine = quadratic.problem(arrays, shared, world, cuts)
    with pytest.raises(ValueError, match=r"solve.*method"):
        solve(mine, "scan" if world.rank else "riccati", comm=world)
    with pytest.raises((ValueError, RuntimeError), match=r"levenberg"):
        solve(mine, comm=world, levenberg=-1.0 if world.rank == 1 else 0.0)
    assert isinstance(solve(mine, comm=world), pint.lq.Solution)
