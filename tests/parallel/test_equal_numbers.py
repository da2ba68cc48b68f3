"""Numbers of users' methods that must be the same on all ranks: an error that names the method."""

import numpy as np
import pytest
import registry
from unequal import Mean, MeanAdjoint

import pint
from pint.comm import sums_and_means


class Term(pint.Regulariser):
    """Half the squares of all numbers, with mistakes to be made by subclasses."""

    def value(self, control):
        return 0.5 * control.space.pair(self.derivative(control), control)

    def derivative(self, control):
        return control.space.dual(control)


class LocalValue(Term):
    def value(self, control):
        return 0.5 * float(control.vector @ control.vector)


class LocalShared(Term):
    def derivative(self, control):
        result = super().derivative(control)
        result["theta"][...] *= 1 + control.space.comm.rank
        return result

    def value(self, control):
        return 0.5 * control.space.inner(control, control)


class OneNaN(Term):
    def value(self, control):
        return float("nan") if control.space.comm.rank == 0 else 1.0


def functional(term, comm):
    stepper = registry.Pendulum()
    parts = stepper, registry.PendulumAdjoint(stepper), registry.RunningCost()
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    problem = pint.Problem(*parts, fields, [term])
    return pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 24, 2, 2, comm=comm))


@pytest.mark.parametrize("method", [pint.ReducedSpace(), pint.External("scipy:L-BFGS-B")])
def test_a_term_that_is_not_summed_over_the_ranks(world, method):
    if world.size == 1:
        return
    made = functional(LocalValue(), world)
    with pytest.raises(ValueError, match=r"`LocalValue.value` must be the same .* sum it"):
        pint.minimize(made, made.control(u=0.3), method)
    # Zero has the same derivative everywhere; the next control has not.
    with pytest.raises(ValueError, match=r"`LocalShared.derivative` must have the same shared"):
        pint.minimize(functional(LocalShared(), world), None, method)


def test_nan_on_one_rank_is_nan_on_all(world):
    made = functional(OneNaN(), world)
    with pytest.raises(pint.NotFiniteError, match="objective is nan"):
        pint.minimize(made)


def test_terms_are_the_same_as_on_one_rank(world):
    made, alone = functional(Term(), world), functional(Term(), None)
    for level in (0.0, 0.3):
        found, expected = (f.value(f.control(u=level, theta=0.2)) for f in (made, alone))
        assert found == pytest.approx(expected, rel=1e-12)


def test_a_cost_that_is_not_summed_over_ranks_in_space(world):
    if world.size == 1:
        return

    class Local(pint.Objective):
        def terminal(self, y, theta):
            return 0.5 * float((y * y).sum())

        def terminal_derivative(self, y, theta):
            return y, {}

    time, space = pint.split(world, world.size)
    stepper, fields = Mean(space), {"force": pint.TimeControl(1)}
    problem = pint.Problem(stepper, MeanAdjoint(stepper), Local(), fields, comm=space)
    made = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 8, comm=time))
    with pytest.raises(ValueError, match=r"the cost of `Local` must be the same number"):
        pint.minimize(made)


def test_sums_and_means(world):
    size, rank = world.size, world.rank
    sums, means, same = sums_and_means(world, [rank, 1.0], [0.1, -3e200])
    np.testing.assert_allclose(sums, [size * (size - 1) / 2, size])
    np.testing.assert_allclose(means, [0.1, -3e200], rtol=1e-15)
    assert same
    assert sums_and_means(world, [], [1.0, 1e-3 * rank])[2] is (size == 1)
    assert sums_and_means(world, [], [])[2]
