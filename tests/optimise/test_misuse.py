"""The likeliest mistakes at the front door each end in one clear line, before any work."""

import math
import re

import numpy as np
import pytest
from linear_quadratic import DOUBLE_INTEGRATOR

import pint
from pint.equations import March
from problems.peaks import generate
from problems.resnet import DenseNetwork

GRID = pint.TimeGrid.uniform(1.0, 20, 4, 2)
PROBLEM = DOUBLE_INTEGRATOR.problem()


def functional(levels=2, **bounds):
    grid = pint.TimeGrid.uniform(1.0, 20, 4, levels)
    return pint.ReducedFunctional(DOUBLE_INTEGRATOR.problem(**bounds), grid)


def refuses(kind, line, call):
    """Check that `call` raises an error of a kind whose whole text is one line with `line`."""
    with pytest.raises(kind, match=re.escape(line)) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert type(caught.value) is kind


def no_work(rf):
    return rf.state.solver.cycles_done == 0 == sum(rf.state.solver.steps_evaluated)


# Options


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: pint.OneShot(iteration=5),
            "`OneShot` has no option `iteration`; did you mean `iterations`? It has",
        ),
        (lambda: pint.ReducedSpace(tol=1e-3), "`ReducedSpace` has no option `tol`; it has"),
        (lambda: pint.Lagged(cycels=2), "did you mean `cycles`?"),
        (lambda: pint.Adaptive(gradient_tol=1e-3), "did you mean `gradient_tolerance`?"),
        (
            lambda: pint.Stochastic(pint.adam(), epochs=1, learningrate=1.0),
            "did you mean `learning_rate`?",
        ),
        (lambda: pint.External("scipy:TNC", option={}), "did you mean `options`?"),
        (lambda: pint.Nested([GRID], method=pint.OneShot(), grid=1), "did you mean `grids`?"),
        (lambda: pint.OneShot(lagged=True), "`OneShot` has no option `lagged`"),
    ],
)
def test_a_misspelt_option_is_named_with_the_one_that_was_meant(call, line):
    refuses(TypeError, line, call)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: pint.OneShot(cycles=0), "`OneShot(cycles=...)` must be an integer >= 1, got 0."),
        (lambda: pint.OneShot(cycles=True), "`OneShot(cycles=...)` must be an integer"),
        (lambda: pint.OneShot(cycles=2.5), "`OneShot(cycles=...)` must be an integer"),
        (lambda: pint.OneShot(cycles="many"), "must be an integer >= 1, got 'many'."),
        (lambda: pint.OneShot(cycles="adaptive"), "`pint.Adaptive()`"),
        (lambda: pint.OneShot(tolerance=-1.0), "`OneShot(tolerance=...)` must be finite"),
        (lambda: pint.Lagged(cycles=0), "`Lagged(cycles=...)` must be an integer >= 1, got 0."),
        (lambda: pint.ReducedSpace(iterations=-1), "`ReducedSpace(iterations=...)`"),
        (lambda: pint.Adaptive(iterations=2.5), "`Adaptive(iterations=...)`"),
        (lambda: pint.Adaptive(gradient_tolerance=math.nan), "`Adaptive(gradient_tolerance=...)`"),
        (lambda: pint.OneShot(gradient_tolerance="1e-3"), "must be finite and >= 0, got '1e-3'."),
        (lambda: pint.OneShot(step=0.0), "`OneShot(step=...)` must be positive and finite"),
        (lambda: pint.OneShot(step=math.inf), "`OneShot(step=...)` must be positive and finite"),
        (lambda: pint.Stochastic(pint.adam(), -1, 1.0), "`Stochastic(epochs=...)`"),
        (lambda: pint.Stochastic(pint.adam(), 1, 0.0), "`Stochastic(learning_rate=...)`"),
        (lambda: pint.Stochastic(pint.adam(), 1, 1.0, 0), "`Stochastic(cycles=...)`"),
        (lambda: pint.Stochastic(pint.adam(), 1, 1.0, decay=math.inf), "`Stochastic(decay=...)`"),
        (lambda: pint.Stochastic(pint.adam(), 1, 1.0, seed=None), "`Stochastic(seed=...)`"),
        (lambda: pint.External("newton"), "'scipy:' and a method of scipy, or 'tao:'"),
        (lambda: pint.External("scipy:Nelder-Mead"), "nothing but the gradient, are L-BFGS-B"),
        (lambda: pint.External("scipy:"), "L-BFGS-B"),
        (lambda: pint.External("tao:nm"), "`External(method='tao:nm')`: the methods of tao"),
        (lambda: pint.Nested([GRID], pint.OneShot(), "cubic"), "`Nested(interpolate=...)`"),
        (lambda: pint.Progress(2.5), "`Progress(iterations=...)` must be an integer >= 0"),
    ],
)
def test_an_option_out_of_range_is_named(call, line):
    refuses(ValueError, line, call)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: pint.OneShot(hessian=pint.lbfgs), "got `lbfgs` itself, which must be called."),
        (
            lambda: pint.OneShot(line_search="armijo"),
            "must be `wolfe()`, `armijo()` or `fixed_step()`",
        ),
        (lambda: pint.ReducedSpace(1e-8), "`ReducedSpace(accuracy=...)` must be"),
        (lambda: pint.Stochastic("adam", 1, 1.0), "`Stochastic(rule=...)` must be `sgd(...)`"),
        (lambda: pint.External(pint.OneShot()), "`External(method=...)` must be a name such as"),
        (lambda: pint.Nested(GRID, pint.OneShot()), "`Nested(grids=...)` must be a sequence"),
        (lambda: pint.Nested([8, 16], pint.OneShot()), "a sequence of `pint.TimeGrid`, got 8."),
        (lambda: pint.Nested([GRID], pint.OneShot), "must be a method such as `pint.OneShot()`"),
    ],
)
def test_an_option_of_the_wrong_kind_is_named(call, line):
    refuses(TypeError, line, call)


def test_numbers_of_numpy_are_numbers():
    method = pint.OneShot(cycles=np.int64(3), iterations=np.int32(2))
    assert (type(method.cycles), type(method.iterations)) == (int, int)
    assert pint.minimize(functional(), method=method).iterations == 2


# Arguments of `minimize`


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            (PROBLEM,),
            "`minimize(functional=...)` must be a ReducedFunctional, got Problem: give it a time "
            "grid by `pint.ReducedFunctional(problem, grid)`.",
        ),
        ((3,), "`minimize(functional=...)` must be a ReducedFunctional, got int."),
        (
            (functional(), None, pint.OneShot),
            "`minimize(method=...)` must be a value, got the class OneShot: write "
            "`pint.OneShot(...)`",
        ),
        ((functional(), None, "lbfgs"), "such as `pint.ReducedSpace()`, got the string 'lbfgs'."),
        ((functional(), None, "adaptive"), "such as `pint.Adaptive()`"),
        ((functional(), None, "scipy:TNC"), 'such as `pint.External("scipy:TNC")`'),
        ((functional(), None, "one-shot"), "such as `pint.OneShot()`, got the string 'one-shot'."),
        ((functional(), None, "newton"), "such as `pint.OneShot(cycles=2)`, got the string"),
        ((functional(), None, 2), "such as `pint.OneShot(cycles=2)`, got int."),
        (
            (functional(), pint.Lagged()),
            "`minimize(start=...)` must be a control, got Lagged: write `minimize(functional, "
            "method=pint.Lagged(...))`.",
        ),
        ((functional(), np.zeros(20)), "a control must be a `pint.Control`, got ndarray"),
    ],
)
def test_a_wrong_argument_is_named_with_the_right_one(arguments, line):
    refuses(TypeError, line, lambda: pint.minimize(*arguments))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"callback": 3}, "`minimize(callback=...)` must be a function"),
        ({"checkpoint": "run.npz"}, "`minimize(checkpoint=...)` must be a Checkpoint, got str"),
    ],
)
def test_a_wrong_option_of_minimize_is_named(options, line):
    refuses(TypeError, line, lambda: pint.minimize(functional(), **options))


@pytest.mark.parametrize(
    "method",
    [pint.External("scipy:TNC"), pint.Nested([], pint.OneShot())],
    ids=lambda method: type(method).__name__,
)
def test_a_checkpoint_where_no_run_can_be_resumed(method):
    checkpoint = pint.Checkpoint("unused.npz")
    line = f"a run of `{type(method).__name__}` cannot be resumed"
    call = lambda: pint.minimize(functional(), method=method, checkpoint=checkpoint)  # noqa: E731
    refuses(ValueError, line, call)


@pytest.mark.parametrize("method", [pint.OneShot(), pint.External("scipy:TNC")])
def test_a_control_of_another_grid(method):
    rf = functional()
    other = pint.ControlSpace(pint.TimeGrid.uniform(1.0, 40), **PROBLEM.controls)
    line = "the control has 40 time steps, the problem 20; use `pint.prolong("
    refuses(ValueError, line, lambda: pint.minimize(rf, other.zeros(), method))
    assert no_work(rf)


def test_methods_that_do_not_suit_the_grid_or_the_problem():
    for method in (pint.OneShot(), pint.Lagged(), pint.Nested([GRID], pint.Lagged())):
        line = "needs a grid of at least 2 levels; with one, state and adjoint are exact and"
        rf = functional(levels=1)
        refuses(ValueError, line, lambda rf=rf, m=method: pint.minimize(rf, method=m))
        assert no_work(rf)
    rf = functional(lower=0.0)
    external = pint.External("scipy:BFGS")
    refuses(ValueError, "takes no bounds", lambda: pint.minimize(rf, method=external))
    shorter = pint.Nested([pint.TimeGrid.uniform(0.5, 10, 2, 2)], pint.OneShot())
    refuses(
        ValueError,
        "the times of a grid run from 0.0 to 0.5",
        lambda: pint.minimize(rf, None, shorter),
    )
    assert no_work(rf)


# Callbacks


METHODS = [
    pint.ReducedSpace(iterations=3),
    pint.Lagged(iterations=3),
    pint.External("scipy:L-BFGS-B", iterations=3),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_callback_cannot_change_control_or_states(method):
    def of_control(iterate, control, state):
        control["u"][...] = 0.0

    def of_vector(iterate, control, state):
        control.vector *= 2.0

    def of_states(iterate, control, state):
        state.points[1:] += 1.0

    def of_the_states_control(iterate, control, state):
        state.solved_control.vector[...] = 1.0

    for change in (of_control, of_states, of_the_states_control):
        refuses(
            ValueError,
            "read-only",
            lambda change=change: pint.minimize(functional(), None, method, callback=change),
        )
    with pytest.raises((ValueError, AttributeError)):
        pint.minimize(functional(), None, method, callback=of_vector)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_what_a_callback_does_to_its_own_objects_has_no_effect(method):
    expected = pint.minimize(functional(), method=method)
    rf = functional()
    own = rf.adjoint.new()

    def callback(iterate, control, state):
        rf.adjoint.solve(own, state, March())
        rf.derivative_of(state, own)
        rf.value(2.0 * control)
        iterate.phases.clear()
        state.forget()
        state.points = state.convergence = None

    result = pint.minimize(rf, method=method, callback=callback)
    assert [row.objective for row in result.history] == [row.objective for row in expected.history]
    np.testing.assert_array_equal(result.control.vector, expected.control.vector)
    assert all(row.phases for row in result.history)


def test_a_callback_that_selects_other_examples():
    network = DenseNetwork(features=2, width=3, classes=5)
    problem = network.problem(*generate(12, seed=0), batch_size=6)
    rf = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 8, 4, 2))
    start = network.random_control(rf.controls, seed=1)

    def callback(iterate, control, state):
        rf.select(np.arange(6, 12))

    refuses(
        ValueError,
        "the state was solved for other examples",
        lambda: pint.minimize(rf, start, pint.OneShot(), callback=callback),
    )


def test_options_at_the_wrong_door():
    problem = DOUBLE_INTEGRATOR.problem()
    grid = pint.TimeGrid.uniform(1.0, 8)
    functional = pint.ReducedFunctional(problem, grid)
    with pytest.raises(TypeError, match=r"no option `iterations`; it belongs to the method: `pint"):
        pint.minimize(functional, iterations=3)
    with pytest.raises(TypeError, match="`minimize` has no option `verbose`; it has `functional`"):
        pint.minimize(functional, verbose=True)
    with pytest.raises(TypeError, match="no option `relaxations`; did you mean `relaxation`"):
        pint.ReducedFunctional(problem, grid, relaxations="F")
    with pytest.raises(TypeError, match=r"grid=.*must be a TimeGrid, got NoneType; make one"):
        pint.ReducedFunctional(problem)
