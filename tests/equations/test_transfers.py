"""Problems whose coarse levels have other states: gradients, duality, methods, wrong transfers."""

import numpy as np
import pytest
from mesh_problems import Reaction, ReactionAdjoint, Tracking, Weighted, reaction_problem
from pairwise import pairwise
from registry import random_control

import pint
from pint.equations import Lagged, March
from pint.equations.sweeps import Sweep
from pint.verify import check_problem
from problems.heat import Heat, zero_target

TIGHT = pint.Accuracy(60, relative=1e-14)


def grid_of(steps=24, coarsening=2, levels=3):
    return pint.TimeGrid.uniform(1.0, steps, coarsening, levels)


def functional_of(points, grid=None, batched=True, **options):
    options = {"accuracy": TIGHT, "unconverged": "ignore"} | options
    return pint.ReducedFunctional(reaction_problem(points, batched), grid or grid_of(), **options)


@pytest.mark.parametrize(
    ("shape", "cycle", "guess", "batched", "storage"),
    pairwise(
        [(24, 2, 3), (22, (2, 3), 3), (24, 4, 2), (24, 2, 4)],
        ["V", "F"],
        ["zero", "constant", "coarse", "nested"],
        [True, False],
        ["all", "C"],
    ),
)
def test_value_and_gradient_are_those_of_stepping(shape, cycle, guess, batched, storage):
    options = {"cycle": cycle, "guess": guess, "storage": storage, "batched": batched}
    ours = functional_of((15, 7, 7, 3), grid_of(*shape), **options)
    exact = functional_of((15,), pint.TimeGrid.uniform(1.0, shape[0]))
    control = random_control(ours.controls)
    value, gradient = ours.value_and_gradient(control)
    expected, slope = exact.value_and_gradient(random_control(exact.controls))
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient.vector, slope.vector, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(24, 2, 3), (23, 3, 3)])
@pytest.mark.parametrize("control", ["distributed", "initial"])
def test_adjoint_of_the_whole_solve(shape, control):
    """J is affine in the control here: <dJ, v> = J(c + v) - J(c), all solves by cycles."""
    heat = Heat(control, points=15, nu=0.02)
    data = zero_target(heat)
    problem = heat.problem(data, lambda coordinates: zero_target(heat, coordinates))
    problem = pint.Problem(problem.stepper, problem.adjoint, Weighted(heat.size), problem.controls)
    functional = pint.ReducedFunctional(
        problem, grid_of(*shape), accuracy=TIGHT, unconverged="ignore"
    )
    c, v = (random_control(functional.controls, seed) for seed in (1, 2))
    left = functional.controls.pair(functional.derivative(c), v)
    ahead, here = functional.value(c + v), functional.value(c)
    assert left == pytest.approx(ahead - here, rel=1e-12, abs=1e-12 * abs(here))


@pytest.mark.parametrize(
    ("points", "shape"),
    [((15, 7, 3), (24, 2, 3)), ((15, 7, 7, 3), (29, (3, 2, 2), 4)), ((15, 15, 7), (23, 2, 3))],
)
def test_coarse_transposes_are_linearised_at_restricted_states(points, shape):
    functional = functional_of(points, grid_of(*shape))
    control, grid = random_control(functional.controls), functional.grid
    state = functional.state.new()
    functional.state.solve(state, control, March())
    blocks = functional.controls.restrict(control, reverse=True)
    sweep = Sweep(functional.calls, control, blocks, at=state)
    y, stepper = state.points, functional.problem.stepper
    for level, layout in enumerate(grid.layouts(reverse=True)):
        transfer = stepper.transfer(level) if level else None
        if transfer is not None:
            y = y @ transfer.restrict.T
        adjoint = ReactionAdjoint(stepper.coarsen(level))
        for steps in (range(layout.steps), range(layout.steps)[1::2], range(layout.steps)[-1:]):
            starts = sweep.starts(level, steps)
            lam = np.random.default_rng(level).standard_normal((len(steps), y.shape[1]))
            out = np.empty_like(lam)
            sweep.apply(level, steps, lam, out)
            s, theta = grid.batch(level, starts, 1), control.shared
            u = {"u": control["u"][list(starts)]}
            np.testing.assert_allclose(out, adjoint.step(s, y[list(starts)], u, theta, lam))


@pytest.mark.parametrize(
    "method",
    [
        pint.ReducedSpace(gradient_tolerance=1e-9),
        pint.OneShot(2, gradient_tolerance=1e-9),
        pint.Lagged(gradient_tolerance=1e-9),
        pint.Adaptive(gradient_tolerance=1e-9),
    ],
    ids=lambda method: type(method).__name__,
)
@pytest.mark.parametrize("levels", [2, 3])
def test_methods_reach_the_optimum(method, levels):
    results = [
        pint.minimize(one, one.controls.control(theta=1.0), way)
        for one, way in (
            (functional_of((15, 7, 3), grid_of(24, 2, levels)), method),
            (functional_of((15,), grid_of(levels=1)), pint.ReducedSpace(gradient_tolerance=1e-9)),
        )
    ]
    assert results[0].status is pint.Status.CONVERGED
    assert results[0].objective == pytest.approx(results[1].objective, rel=1e-12)


def test_lagged_candidates_begin_with_the_points_of_the_iterate():
    """The coarse level corrects C-points and does not replace them: those of `start` count."""
    functional = functional_of((15, 7), grid_of(levels=2))
    c = random_control(functional.controls)
    start, candidate, solved = (functional.state.new() for _ in range(3))
    functional.state.solve(start, c, Lagged(40))
    functional.state.solve(candidate, c, Lagged(1, start=start))
    functional.state.solve(solved, c, March())
    np.testing.assert_allclose(candidate.points, solved.points, rtol=0, atol=1e-13)


class Odd(Reaction):
    """The transfer is an attribute, for tests of wrong ones."""

    made = None

    def coarsen(self, level):
        return Reaction(self.points, self.batched, level)

    def transfer(self, level):
        return self.made


def odd_problem(made, batched=True, points=(7, 3)):
    stepper = Odd(points, batched)
    stepper.made = made
    fields = {"u": pint.TimeControl(points[0]), "theta": pint.SharedControl(1)}
    return pint.Problem(stepper, ReactionAdjoint(stepper), Tracking(), fields)


R, P = np.full((3, 7), 0.25), np.full((7, 3), 0.5)
DOWN, UP = (R.dot, R.T.dot), (P.dot, P.T.dot)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: None, ValueError, r"`Odd.transfer\(1\)` is None.*shape \(3,\)"),
        (lambda: R, TypeError, r"`Odd.transfer\(1\)` must be a pint.Transfer"),
        (lambda: pint.Transfer(P, R), ValueError, r"restrict=.*shape \(3, 7\).*exchanged"),
        (lambda: pint.Transfer(R, R), ValueError, r"prolong=.*shape \(7, 3\).*exchanged"),
        (lambda: pint.Transfer(R[:2], P), ValueError, r"restrict=.*got \(2, 7\)$"),
        (lambda: pint.Transfer(UP, DOWN), ValueError, r"restrict=.*raised ValueError"),
        (lambda: pint.Transfer((R[:2].dot, R[:2].T.dot), UP), ValueError, r"restrict=.*\(3,\)"),
        (lambda: pint.Transfer((R.dot, R.dot), UP), ValueError, r"restrict=.*the transpose raised"),
        (lambda: pint.Transfer(R.dot, UP), TypeError, r"restrict=.*without its transpose"),
        (lambda: pint.Transfer(DOWN, (P.dot, None)), TypeError, r"prolong=.*two functions"),
        (lambda: pint.Transfer(DOWN, None), TypeError, r"prolong=.*must be a matrix"),
        (lambda: pint.Transfer("R", P), TypeError, r"restrict=.*must be a matrix"),
        (lambda: pint.Transfer(1j * R, P), TypeError, r"restrict=.*real"),
        (lambda: pint.Transfer(R, P * np.nan), ValueError, r"prolong=.*finite"),
        (lambda: pint.Transfer(R[0], P), TypeError, r"restrict=.*must be a matrix"),
    ],
)
def test_wrong_transfers_are_one_line_at_set_up(make, error, text):
    with pytest.raises(error, match=text) as caught:
        pint.ReducedFunctional(odd_problem(make(), batched=False), grid_of(levels=2))
    assert "\n" not in str(caught.value)


def test_check_problem_finds_a_wrong_transpose():
    wrong = pint.Transfer((R.dot, lambda z: 2 * R.T @ z), UP)
    report = check_problem(odd_problem(wrong, batched=False), grid_of(12, 2, 2))
    assert {(one.method, one.field) for one in report.failures} == {("Odd.transfer", "restrict")}
    assert "no transpose of `restrict`" in str(report)


def test_check_problem_finds_a_transfer_that_changes_its_argument():
    def changes(y):
        y *= 2.0
        return R @ y

    wrong = pint.Transfer((changes, R.T.dot), UP)
    report = check_problem(odd_problem(wrong, batched=False), grid_of(12, 2, 2))
    assert any("left as it is" in str(one) for one in report.failures)


@pytest.mark.parametrize("made", [None, pint.Transfer(P, R)])
def test_check_problem_names_the_method_of_a_wrong_transfer(made):
    report = check_problem(odd_problem(made), grid_of(12, 2, 2))
    assert [one.method for one in report.failures] == ["Odd.transfer"]
    assert all("Odd.transfer fails" in one.note for one in report.not_run)


def test_a_transfer_keeps_its_own_matrices():
    mine = R.copy()
    transfer = pint.Transfer(mine, P)
    mine[...] = np.nan
    assert np.isfinite(transfer.restrict).all()


@pytest.mark.parametrize("relaxation", ["F", ("FCF", "F")])
def test_f_relaxation_alone_is_warned_of(relaxation):
    level = len(relaxation) - 1
    with pytest.warns(pint.ConvergenceWarning, match=rf"F-relaxation on level {level}.*FCF"):
        functional_of((15, 7, 3), relaxation=relaxation, unconverged="warn")


def test_f_relaxation_above_the_same_space_is_not_warned_of(recwarn):
    functional_of((15, 15, 7), relaxation=("F", "FCF"), unconverged="warn")
    functional_of((15,), relaxation="F", unconverged="warn")
    assert not recwarn


def test_a_free_final_time_keeps_the_transfers():
    stepper = Reaction((7, 3))
    fields = {"u": pint.TimeControl(7), "theta": pint.SharedControl(1)}
    problem = pint.Problem(stepper, ReactionAdjoint(stepper), Tracking(), fields)
    free = pint.free_final_time(problem, pint.FinalTime(0.1))
    functional = pint.ReducedFunctional(free, grid_of(levels=3), accuracy=TIGHT)
    assert [one.space.shape for one in functional.state.solver.levels] == [(7,), (3,), (3,)]
    check_problem(free, grid_of(12, 2, 3)).require()


class Mean(pint.IntegralConstraint):
    """``int sum(y) dt = 1``."""

    bound = 1.0

    def value(self, t, y, u, theta):
        assert y.shape[1] == 7  # of level 0
        return y.sum(axis=1)[:, None]

    def vjp(self, t, y, u, theta, weight):
        return np.broadcast_to(weight, y.shape), {}, {}


def test_integral_constraints_see_states_of_level_0():
    functional = functional_of((7, 7, 3), grid_of(8, 2, 3))
    start = functional.controls.control(theta=1.0)
    method = pint.AugmentedLagrangian(pint.ReducedSpace(iterations=500), [Mean()])
    result = pint.minimize(functional, start, method)
    assert result.status is pint.Status.CONVERGED
    means = result.states().sum(axis=1)
    assert (means[1:] + means[:-1]).sum() / 16 == pytest.approx(1.0, abs=1e-7)
