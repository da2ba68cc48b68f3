"""The adjoint and the derivative against their definitions, with the user's methods alone."""

import numpy as np
import pytest
import registry
from solves import NEXT, ONE, both

import pint
from pint.equations import Cycles, Lagged, March, Relax

GRIDS = {
    "1-level": (11, 2, 1),
    "2-levels": (24, 3, 2),
    "2-levels-open": (13, 4, 2),
    "3-levels": (24, [3, 2], 3),
    "3-levels-open": (17, [3, 2], 3),
}


def grid_of(name):
    steps, coarsening, levels = GRIDS[name]
    return pint.TimeGrid(2.0 * np.linspace(0, 1, steps + 1) ** 1.1, coarsening, levels)


class Plain:
    """A problem's derivatives at given states, in one batch or by a plain loop over the steps."""

    def __init__(self, rf, control, y):
        self.rf, self.problem, self.control, self.y = rf, rf.problem, control, y
        objective, theta = self.problem.objective, control.shared
        costs = self.over_steps(
            lambda s, y0, y1, u: objective.step_cost(s, y0, y1, u, theta), y[1:]
        )
        self.scale = objective.outer_derivative(np.sum(costs) + objective.terminal(y[-1], theta))
        self.dy0, self.dy1, du, dtheta = self.over_steps(
            lambda s, y0, y1, u: objective.step_cost_derivative(s, y0, y1, u, theta), y[1:]
        )
        dy, dpsi = objective.terminal_derivative(y[-1], theta)
        self.terminal = self.scale * dy
        self.explicit = rf.controls.zeros()
        self._add(self.scale, du, dtheta)
        self._add(self.scale, {}, dpsi)

    def over_steps(self, method, others):
        """Call ``method(s, y, other, u)`` for all steps; what is shared is added up."""
        grid, u, steps, y = self.rf.grid, self.control.time, range(self.rf.grid.steps), self.y
        if self.problem.stepper.batched:
            return method(grid.batch(0, steps, y.ndim - 1), y[:-1], others, u)
        found = []
        for n in steps:
            blocks = {name: values[n] for name, values in u.items()}
            found.append(method(grid.single(0, n), y[n], others[n], blocks))
        if not isinstance(found[0], tuple):
            return found
        *states, du, dtheta = zip(*found, strict=True)
        states = [np.array([np.broadcast_to(one, y[0].shape) for one in part]) for part in states]
        du = {name: np.array([one[name] for one in du]) for name in du[0]}
        return *states, du, {name: sum(one[name] for one in dtheta) for name in dtheta[0]}

    def transposed(self, lam):
        """Return the products of all steps' transposes with the adjoints at their ends."""
        vjp, theta = self.problem.adjoint.vjp, self.control.shared
        return self.over_steps(lambda s, y, after, u: vjp(s, y, u, theta, after), lam[1:])

    def _add(self, scale, du, dtheta):
        for name, value in {**du, **dtheta}.items():
            self.explicit[name][...] += scale * value

    def sources(self):
        """Return the derivative of the step costs with respect to each point."""
        sources = np.zeros_like(self.y)
        sources[:-1] += self.scale * self.dy0
        sources[1:] += self.scale * self.dy1
        return sources

    def stepped(self, lam):
        """Return ``Phi_n^T lam_{n+1} + source_n`` for n = 0 .. N - 1."""
        dy, *_ = self.transposed(lam)
        return dy + self.sources()[:-1]

    def derivative(self, lam):
        _, du, dtheta = self.transposed(lam)
        self._add(1.0, du, dtheta)
        self._add(1.0, {}, self.problem.adjoint.initial_vjp(self.control.shared, lam[0]))
        for term in self.problem.regularisers:
            self.explicit = self.explicit + term.derivative(self.control)
        return self.explicit


def cycles(rf, state, adjoint, control):
    both(rf, state, adjoint, control, Cycles(pint.Accuracy(2)))


def to_loose_tolerance(rf, state, adjoint, control):
    """So that the pass which meets it was announced as one that may be the last, or was not."""
    both(rf, state, adjoint, control, Cycles(pint.Accuracy(30, relative=1e-3)))


def lagged(rf, state, adjoint, control):
    for factor in (0.8, 1.0):
        both(rf, state, adjoint, factor * control, Lagged())


def lagged_twice(rf, state, adjoint, control):
    both(rf, state, adjoint, control, Lagged(2))


def relaxed(rf, state, adjoint, control):
    both(rf, state, adjoint, 0.7 * control, ONE)
    both(rf, state, adjoint, control, Relax())


def cycles_from_relaxed(rf, state, adjoint, control):
    relaxed(rf, state, adjoint, control)
    rf.adjoint.solve(adjoint, state, NEXT)


def met_from_relaxed(rf, state, adjoint, control):
    """The tolerance is met in the first pass, which makes the steps to C-points alone."""
    again = Cycles(pint.Accuracy(9, relative=1e-6), relaxed=True)
    both(rf, state, adjoint, control, Cycles(pint.Accuracy(30, relative=1e-12)))
    rf.state.solve(state, control, again)
    rf.adjoint.solve(adjoint, state, Relax())
    rf.adjoint.solve(adjoint, state, again)
    if rf.grid.levels > 1:
        assert len(state.convergence.residuals) == len(adjoint.convergence.residuals) == 1


def marched(rf, state, adjoint, control):
    both(rf, state, adjoint, control, March())


SOLVES = (
    cycles,
    to_loose_tolerance,
    lagged,
    lagged_twice,
    relaxed,
    cycles_from_relaxed,
    met_from_relaxed,
    marched,
)


def solved(name, grid, solve, **options):
    rf = pint.ReducedFunctional(registry.small_problem(*name), grid_of(grid), **options)
    control = registry.random_control(rf.controls, seed=3)
    state, adjoint = rf.state.new(), rf.adjoint.new()
    solve(rf, state, adjoint, control)
    return rf, control, state, adjoint


def same(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


NAMES = (
    ("pendulum", "running"),
    ("dahlquist-trapezoid-loop", "running"),
    ("swift", "arrival"),
    ("swift-loop", "running"),
)
CASES = [
    (NAMES[(i + j) % 4], grid, solve, {"relaxation": ("F", "FCF")[(i + j // 2) % 2]})
    for i, solve in enumerate(SOLVES)
    for j, grid in enumerate(("1-level", "2-levels", "2-levels-open", "3-levels-open"))
    if grid != "1-level" or solve in (cycles, marched)
]
# Few states at a time, so that one by one, too; and weights
CASES += [
    (("pendulum", "running"), "2-levels-open", lagged, {"relaxation": "F", "chunk_bytes": 1}),
    (("swift", "arrival"), "3-levels-open", cycles, {"chunk_bytes": 100, "c_weight": 0.8}),
    (("dahlquist-trapezoid", "running"), "2-levels", cycles, {"chunk_bytes": 1, "cycle": "F"}),
    (("dahlquist-trapezoid", "running"), "1-level", marched, {}),  # by batches
    (("swift", "arrival"), "2-levels", met_from_relaxed, {"relaxation": "F"}),
]


@pytest.mark.parametrize(("name", "grid", "solve", "options"), CASES)
def test_the_derivative_is_that_of_all_steps_at_the_solution(name, grid, solve, options):
    """Solved or not: each step contributes once, at its state, with the adjoint at its end."""
    rf, control, state, adjoint = solved(name, grid, solve, **options)
    expected = Plain(rf, control, state.points).derivative(adjoint.points)
    same(rf.derivative_of(state, adjoint).vector, expected.vector)
    same(rf.derivative_of(state, adjoint).vector, expected.vector)  # and no step twice


@pytest.mark.parametrize("storage", ["all", "C"])
@pytest.mark.parametrize("solve", SOLVES)
def test_points_follow_from_each_other_backward_in_time(solve, storage):
    """``lam_n = Phi_n^T lam_{n+1} + source_n`` at F-points; at all points after a march."""
    rf, control, state, adjoint = solved(
        ("pendulum", "running"), "2-levels", solve, storage=storage
    )
    plain = Plain(rf, control, rf.states(state))
    lam = adjoint.points
    if storage == "C":
        whole = np.zeros_like(plain.y)
        whole[::3] = lam
        for back in (1, 2):
            whole[3 - back :: 3] = plain.stepped(whole)[3 - back :: 3]
        lam = whole
    stepped = plain.stepped(lam)
    f_points = [n for n in range(rf.grid.steps) if n % 3 or solve is marched]
    same(lam[f_points], stepped[f_points])
    same(lam[-1], plain.terminal + plain.sources()[-1])
    if solve not in (marched, met_from_relaxed):
        assert np.abs(lam[:-1] - stepped).max() > 1e-8  # the C-points are not those of a solution
    same(rf.derivative_of(state, adjoint).vector, plain.derivative(lam).vector)


@pytest.mark.parametrize("storage", ["all", "C"])
@pytest.mark.parametrize("grid", ["2-levels", "3-levels"])
@pytest.mark.parametrize("relaxation", ["F", "FCF"])
def test_lagged_solves_at_one_control_converge_to_the_marches(grid, relaxation, storage):
    """What one solve leaves on level 1 has its own sources, which the next one replaces."""
    rf, control, state, adjoint = solved(
        ("pendulum", "running"), grid, lagged, relaxation=relaxation, storage=storage
    )
    exact, exact_adjoint = rf.state.new(), rf.adjoint.new()
    both(rf, exact, exact_adjoint, control, March())
    for _ in range(12):
        both(rf, state, adjoint, control, Lagged())
    for ours, expected in ((state, exact), (adjoint, exact_adjoint)):
        size = np.abs(expected.points).max()
        np.testing.assert_allclose(ours.points, expected.points, rtol=0, atol=1e-11 * size)


@pytest.mark.parametrize("name", NAMES)
def test_one_state_of_a_sequential_adjoint_gives_the_same_derivative(name):
    rf, _, state, adjoint = solved(name, "1-level", marched, chunk_bytes=1)
    short = rf.adjoint.new(all_points=False)
    assert len(short.points) == 1
    rf.adjoint.solve(short, state, March())
    same(rf.derivative_of(state, short).vector, rf.derivative_of(state, adjoint).vector)
    same(short.points[0], adjoint.points[0])


@pytest.mark.parametrize("relaxation", ["F", "FCF"])
def test_the_correction_is_the_product_with_the_residual_at_c_points(relaxation):
    rf, control, state, adjoint = solved(
        ("pendulum", "running"), "2-levels", cycles, relaxation=relaxation
    )
    y, lam = state.points, adjoint.points
    s = rf.grid.batch(0, range(rf.grid.steps), 1)
    stepped = rf.problem.stepper.step(s, y[:-1], control.time, control.shared)
    expected = np.sum(lam[1:] * (stepped - y[1:]))
    assert abs(expected) > 1e-6
    assert rf.state.correction(state, adjoint) == pytest.approx(expected, rel=1e-10)
    assert state.correction == 0.0  # of a lagged solve alone
    rf.state.solve(state, 0.9 * control, Lagged(1, adjoint))
    y, new = state.points, 0.9 * control
    if relaxation == "F":  # the residual of this solve is that of the trajectory that it leaves
        stepped = rf.problem.stepper.step(s, y[:-1], new.time, new.shared)
        expected = np.sum(lam[1:] * (stepped - y[1:]))
        assert state.correction == pytest.approx(expected, rel=1e-10)


# What a solve costs


class Counting:
    """Counts the steps that a user's methods make, by level."""

    def __init__(self, name, grid, **options):
        self.made = {}
        problem = registry.small_problem(*name)
        for part, method in (
            (problem.stepper, "step"),
            (problem.adjoint, "vjp"),
            (problem.adjoint, "step"),
        ):
            if part is problem.stepper or method == "vjp" or self.has_step(part):
                self.count(part, method, "step" if part is problem.stepper else f"adjoint.{method}")
        self.rf = pint.ReducedFunctional(problem, grid_of(grid), **options)
        self.control = registry.random_control(self.rf.controls, seed=3)
        self.state, self.adjoint = self.rf.state.new(), self.rf.adjoint.new()

    @staticmethod
    def has_step(adjoint):
        return type(adjoint).step is not pint.Adjoint.step

    def count(self, part, method, key):
        called = getattr(part, method)

        def counted(s, *arguments, **options):
            by_level = self.made.setdefault(key, {})
            by_level[s.level] = by_level.get(s.level, 0) + np.size(s.index)
            return called(s, *arguments, **options)

        setattr(part, method, counted)

    def solve(self, how):
        """Return the steps of state, adjoint and derivative on level 0, by method."""
        rf, found = self.rf, []
        for act in (
            lambda: rf.state.solve(self.state, self.control, how),
            lambda: rf.adjoint.solve(self.adjoint, self.state, how),
            lambda: rf.derivative_of(self.state, self.adjoint),
        ):
            self.made.clear()
            act()
            found.append({key: counts[0] for key, counts in self.made.items() if 0 in counts})
        return found


# PendulumAdjoint has no step of its own, DahlquistAdjoint has one
@pytest.mark.parametrize("nu", [0, 1, 2])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("grid", ["2-levels", "2-levels-open", "3-levels-open"])
def test_transposes_of_cycles(nu, own, grid):
    """N in each of nu + 1 passes a cycle, then the last F-relaxation, which forms the derivative.

    Steps to C-points follow with it. Only the steps that form it are calls of `vjp` where `step`
    is cheaper.
    """
    name = ("swift", "arrival") if own else ("pendulum", "running")
    case = Counting(name, grid, relaxation="F" + "CF" * nu)
    steps, m = case.rf.grid.steps, case.rf.grid.coarsening[0]
    intervals, cycle = steps // m, (nu + 1) * steps
    state, adjoint, rest = case.solve(ONE)
    assert state == {"step": cycle + steps - intervals}
    last = {"adjoint.vjp": steps - intervals}
    assert adjoint == (
        {"adjoint.step": cycle, **last} if own else {"adjoint.vjp": cycle + steps - intervals}
    )
    assert rest == {"adjoint.vjp": intervals}


def test_few_passes_to_a_tolerance_form_the_derivative():
    """The last one, if it was expected to be, and no more than those that come near."""
    met = []
    for relative in (1e-4, 1e-6, 1e-8, 1e-10):
        case = Counting(("swift", "running"), "3-levels", guess="zero")
        _, adjoint, rest = case.solve(Cycles(pint.Accuracy(20, relative=relative)))
        passes, vjps = 2 * len(case.adjoint.convergence.residuals), adjoint.get("adjoint.vjp", 0)
        assert case.adjoint.convergence.converged
        assert vjps + adjoint["adjoint.step"] == 24 * passes
        assert vjps + rest.get("adjoint.vjp", 0) <= 2 * 24
        met.append(vjps > 0 and not rest)
    assert any(met)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("grid", ["2-levels", "3-levels-open"])
def test_transposes_of_lagged_solves_are_made_once(own, grid):
    """With F-relaxation the only pass over level 0 forms the whole derivative."""
    case = Counting(("swift", "arrival") if own else ("pendulum", "running"), grid, relaxation="F")
    steps = case.rf.grid.steps
    for _ in range(2):
        assert case.solve(Lagged()) == [{"step": steps}, {"adjoint.vjp": steps}, {}]


@pytest.mark.parametrize("stepper", ["pendulum", "swift", "swift-loop"])
@pytest.mark.parametrize(("chunk_bytes", "kept_bytes"), [(1, 2**31), (None, 2**31), (None, 0)])
def test_transposes_of_a_march(stepper, chunk_bytes, kept_bytes):
    """Once each. Where `step` is cheaper, batches form the derivative, from all that was kept."""
    options = {"chunk_bytes": chunk_bytes, "kept_bytes": kept_bytes}
    case = Counting((stepper, "arrival"), "1-level", **options)
    state, adjoint, rest = case.solve(March())
    assert state == {"step": 11}
    if stepper == "swift" and options == {"chunk_bytes": None, "kept_bytes": 2**31}:
        assert (adjoint, rest) == ({"adjoint.step": 11}, {"adjoint.vjp": 11})
    else:
        assert (adjoint, rest) == ({"adjoint.vjp": 11}, {})


@pytest.mark.parametrize("name", [("pendulum", "running"), ("swift-loop", "running")])
@pytest.mark.parametrize("how", [ONE, Lagged(), Cycles(pint.Accuracy(9, relative=1e-6))], ids=str)
def test_solvers_count_the_steps_that_users_make(name, how):
    case = Counting(name, "3-levels-open")
    case.rf.state.solve(case.state, case.control, how)
    made = case.made.pop("step")
    assert tuple(made[level] for level in range(3)) == case.rf.state.solver.steps_evaluated
    case.rf.adjoint.solve(case.adjoint, case.state, how)
    made = [case.made.get(f"adjoint.{method}", {}) for method in ("vjp", "step")]
    totals = tuple(sum(one.get(level, 0) for one in made) for level in range(3))
    assert totals == case.rf.adjoint.solver.steps_evaluated
