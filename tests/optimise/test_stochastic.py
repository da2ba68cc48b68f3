"""SGD and Adam on batches against loops of their formulas; bounds, metric, batches, errors."""

import math
from itertools import pairwise

import numpy as np
import pytest

import pint
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

LAYERS, COUNT, BATCH = 8, 23, 6
X, LABELS = generate(COUNT, seed=3)
NETWORK = DenseNetwork(features=2, width=4, classes=5)
WEIGHTS = Regularisation(1e-3, 2e-3, 3e-3, 4e-3)


def make(
    layers=LAYERS,
    levels=1,
    batch_size=BATCH,
    metric="time",
    network=NETWORK,
    weights=WEIGHTS,
    **options,
):
    grid = pint.TimeGrid.uniform(2.0, layers, 4, levels)
    problem = network.problem(X, LABELS, weights, batch_size, metric)
    functional = pint.ReducedFunctional(problem, grid, **options)
    return functional, network.random_control(functional.controls, seed=1)


def run(functional, control, rule, callback=None, **options):
    settings = {"epochs": 3, "learning_rate": 0.1} | options
    method = pint.Stochastic(rule, **settings)
    return pint.minimize(functional, control, method, callback=callback)


def gradient_of(control, indices, metric="time"):
    """Return objective and gradient of a batch by a problem that was never another one."""
    problem = NETWORK.problem(X[indices], LABELS[indices], WEIGHTS, metric=metric)
    functional = pint.ReducedFunctional(problem, control.space.grid)
    own = pint.Control(functional.controls, control.vector)
    return functional.value(own), functional.gradient(own).vector


def sgd_loop(control, batches, rates, metric, beta):
    velocity, history, x = 0.0, [], control
    for batch, rate in zip(batches, rates, strict=True):
        value, g = gradient_of(x, batch, metric)
        velocity = beta * velocity + g
        history.append(value)
        x = pint.Control(x.space, x.vector - rate * velocity)
    return x, history


def adam_loop(control, batches, rates, metric, beta1, beta2, eps):
    m, v, history, x = 0.0, 0.0, [], control
    for k, (batch, rate) in enumerate(zip(batches, rates, strict=True), 1):
        value, g = gradient_of(x, batch, metric)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        step = rate * (m / (1 - beta1**k)) / (np.sqrt(v / (1 - beta2**k)) + eps)
        history.append(value)
        x = pint.Control(x.space, x.vector - step)
    return x, history


RULES = {
    "gradient descent": (pint.sgd(0.0), sgd_loop, (0.0,), 0.5),
    "momentum": (pint.sgd(0.8), sgd_loop, (0.8,), 0.2),
    "adam": (pint.adam(0.8, 0.95, 1e-6), adam_loop, (0.8, 0.95, 1e-6), 0.05),
}


@pytest.mark.parametrize(
    ("name", "metric"),
    [("gradient descent", "euclidean"), ("momentum", "time"), ("adam", "time")],
)
def test_updates_are_those_of_the_formulas(name, metric):
    rule, loop, constants, rate = RULES[name]
    functional, control = make(metric=metric)
    result = run(functional, control, rule, learning_rate=rate, decay=0.5, seed=7)
    random, batches, rates = np.random.default_rng(7), [], []
    for epoch in range(3):
        order = random.permutation(COUNT)
        batches += [order[start : start + BATCH] for start in range(0, COUNT, BATCH)]
        rates += 4 * [rate / (1 + 0.5 * epoch)]
    expected, history = loop(control, batches, rates, metric, *constants)
    assert len(batches[3]) == 5  # the last batch of an epoch is not full
    assert result.iterations == 12
    assert [row.step for row in result.history] == [rates[0], *rates[:-1]]
    np.testing.assert_allclose([row.objective for row in result.history], history, rtol=1e-11)
    np.testing.assert_allclose(result.control.vector, expected.vector, rtol=1e-9, atol=1e-11)
    # The result is that of all examples.
    value, g = gradient_of(expected, np.arange(COUNT), metric)
    assert result.objective == pytest.approx(value, rel=1e-10)
    gradient = pint.Control(expected.space, g)
    assert result.gradient_norm == pytest.approx(expected.space.norm(gradient), rel=1e-8)
    assert result.objective < gradient_of(control, np.arange(COUNT), metric)[0]
    assert result.status is pint.Status.ITERATION_LIMIT


@pytest.mark.parametrize("opening", ["trained", "pad"])
def test_a_selected_batch_is_a_problem_of_its_own(opening):
    network = DenseNetwork(2, 4, 5, opening=opening)
    functional, control = make(levels=2, network=network)
    for indices in ([3, 1, 4, 15, 9, 2], [6, 5], [22, 0, 21, 7, 8, 10]):
        functional.select(np.array(indices))
        problem = network.problem(X[indices], LABELS[indices], WEIGHTS)
        other = pint.ReducedFunctional(problem, functional.grid)
        assert functional.value(control) == pytest.approx(other.value(control), rel=1e-13)
        expected = other.derivative(control).vector
        np.testing.assert_allclose(
            functional.derivative(control).vector,
            expected,
            rtol=0,
            atol=1e-13 * abs(expected).max(),
        )


@pytest.mark.parametrize("rule", [pint.sgd(0.9), pint.adam()], ids=["sgd", "adam"])
def test_updates_do_not_depend_on_the_number_of_layers(rule):
    """The controls are functions of time: those of N and of 2N layers differ by O(dt)."""
    rate = 0.1 if rule == pint.sgd(0.9) else 0.01
    coarse, start = make(layers=8)
    runs = []
    for layers in (32, 64, 128):
        functional, _ = make(layers=layers, weights=Regularisation(1e-3, 2e-3, 3e-3))
        control = pint.prolong(start, functional.controls)
        result = run(functional, control, rule, learning_rate=rate)
        runs.append(pint.prolong(result.control, coarse.controls).vector)
    differences = [np.linalg.norm(a - b) for a, b in pairwise(runs)]
    moved = np.linalg.norm(runs[-1] - start.vector)
    assert differences[1] < 0.6 * differences[0]
    assert differences[1] < 0.02 * moved


def test_cycles_converge_to_the_exact_updates():
    def trained(levels, cycles, **options):
        made = make(levels=levels, **options)
        return run(*made, pint.adam(), cycles=cycles, learning_rate=0.02)

    exact = trained(1, 1)
    assert all(row.gradient_error == 0 == row.state_residual for row in exact.history)
    for guess in ("coarse", "nested"):
        errors = []
        for cycles in (1, 2, 3):
            result = trained(2, cycles, relaxation="F", guess=guess)
            assert math.isnan(result.history[0].gradient_error)
            assert result.history[-1].state_cycles == 12 * cycles
            errors.append(np.linalg.norm(result.control.vector - exact.control.vector))
        moved = np.linalg.norm(exact.control.vector - make()[1].vector)
        assert errors[0] < 0.1 * moved
        assert errors[2] < 1e-9 * moved  # N/m = 2 intervals: exact after two cycles and more


class Bounded(DenseNetwork):
    def fields(self, metric="time"):
        weight = pint.TimeControl((self.width, self.width), lower=-0.1, upper=0.1)
        return {**super().fields(metric), "weight": weight}


@pytest.mark.parametrize("rule", [pint.sgd(), pint.adam()], ids=["sgd", "adam"])
def test_bounds_are_kept(rule):
    functional, control = make(network=Bounded(2, 4, 5))
    seen = []

    def callback(iterate, control, state):
        assert abs(control["weight"]).max() <= 0.1
        seen.append(abs(control["weight"]).max())

    result = run(functional, control, rule, callback, epochs=5)
    assert len(seen) == 20 == result.iterations
    assert seen[-1] == abs(result.control["weight"]).max() == 0.1
    assert result.objective < result.history[0].objective


@pytest.mark.parametrize("interpolate", ["constant", "linear"])
def test_updates_stay_on_a_coarser_time_mesh(interpolate):
    class Coarse(DenseNetwork):
        def fields(self, metric="time"):
            weight = pint.TimeControl((4, 4), every=4, interpolate=interpolate)
            return {**super().fields(metric), "weight": weight}

    functional, control = make(network=Coarse(2, 4, 5))
    result = run(functional, control, pint.adam(), epochs=2)
    blocks = result.control["weight"]
    projected = result.control.space.meshes["weight"].project(blocks)
    np.testing.assert_allclose(blocks, projected, atol=1e-14)
    assert abs(blocks - control["weight"]).max() > 0.1


def test_a_fixed_order_and_epochs_of_no_update():
    functional, control = make(batch_size=COUNT)
    options = {"learning_rate": 0.5, "shuffle": False}
    result = run(functional, control, pint.sgd(0.0), epochs=4, **options)
    # One batch of all examples in their order: steepest descent
    steps = {"hessian": pint.identity(), "line_search": pint.fixed_step(), "step": 0.5}
    other = pint.minimize(functional, control, pint.ReducedSpace(iterations=4, **steps))
    assert result.objective == pytest.approx(other.objective, rel=1e-12)
    nothing = run(functional, control, pint.sgd(0.0), epochs=0, **options)
    assert nothing.history == ()
    assert nothing.objective == pytest.approx(functional.value(control), rel=1e-13)


def test_every_solve_begins_with_the_first_guess():
    """The same batch at nearly the same control leaves the same residual again and again."""
    functional, control = make(levels=2, batch_size=COUNT, relaxation="F", guess="coarse")
    result = run(functional, control, pint.sgd(0.0), epochs=4, learning_rate=1e-12)
    residuals = [row.state_residual for row in result.history]
    assert residuals[0] > 0
    np.testing.assert_allclose(residuals, residuals[0], rtol=1e-6)


def test_too_large_a_rate_ends_with_a_finite_result():
    network = DenseNetwork(2, 4, 5, activation="relu")
    functional, control = make(network=network)
    for rate in (1e3, 1e30):
        result = run(functional, control, pint.sgd(), epochs=40, learning_rate=rate)
        assert result.status is pint.Status.NOT_FINITE
        assert result.iterations == len(result.history) - 2 < 158
        assert math.isfinite(result.objective)
        assert (result.iterations > 0) == (rate == 1e3)
    bad = pint.Control(control.space, control.vector * 1e300)
    with pytest.raises(pint.NotFiniteError), np.errstate(all="ignore"):
        run(functional, bad, pint.sgd(), epochs=1)


@pytest.mark.parametrize("name", ["momentum", "beta1", "beta2", "eps"])
def test_constants_of_the_rules_out_of_range(name):
    wrong = {"momentum": 1.0, "beta1": 1.0, "beta2": -0.1, "eps": 0.0}[name]
    with pytest.raises(ValueError, match=name):
        (pint.sgd if name == "momentum" else pint.adam)(**{name: wrong})


def test_problems_without_examples():
    """Each epoch is one update, from the whole gradient."""
    functional, control = make(batch_size=COUNT)
    whole = pint.ReducedFunctional(NETWORK.problem(X, LABELS, WEIGHTS), functional.grid)
    results = [run(each, control, pint.adam(), epochs=5) for each in (functional, whole)]
    assert [result.iterations for result in results] == [5, 5]
    one, other = results
    np.testing.assert_allclose(one.control.vector, other.control.vector, atol=1e-12)
    assert one.objective == pytest.approx(other.objective, rel=1e-12)


def test_batches_out_of_range():
    functional, _ = make()
    whole = pint.ReducedFunctional(NETWORK.problem(X, LABELS), functional.grid)
    with pytest.raises(ValueError, match="batch_size"):
        whole.select(np.arange(3))
    for size in (0, COUNT + 1, 2.5):
        with pytest.raises(ValueError, match="batch_size"):
            NETWORK.problem(X, LABELS, batch_size=size)
    for indices in (np.arange(0), np.arange(BATCH + 1), np.array([COUNT]), np.array([0.5])):
        with pytest.raises(ValueError, match="indices"):
            functional.select(indices)


def test_an_objective_that_has_grown_is_a_failure():
    functional, control = make()
    result = run(functional, control, pint.sgd(), learning_rate=100.0)
    assert result.status is pint.Status.DIVERGING
    assert "learning_rate" in result.message
    assert result.objective > 10 * result.history[0].objective


# Early stopping


class Scripted:
    """A validation that returns given numbers, and remembers the controls."""

    def __init__(self, *values):
        self.values, self.controls = values, []

    def __call__(self, control):
        assert not control.vector.flags.writeable
        self.controls.append(control.vector.copy())
        return self.values[len(self.controls) - 1]


def test_the_best_control_is_restored_and_patience_ends_the_run():
    functional, control = make()
    validation = Scripted(3.0, 2.0, math.nan, 2.0, 2.5, 1.0)
    options = {"epochs": 20, "validation": validation}
    result = run(functional, control, pint.adam(), patience=3, **options)
    assert result.status is pint.Status.EARLY_STOPPED
    assert len(result.history) == 5 * 4
    assert result.iterations == 2 * 4
    np.testing.assert_array_equal(result.control.vector, validation.controls[1])
    value, _ = gradient_of(result.control, np.arange(COUNT))
    assert result.objective == pytest.approx(value, rel=1e-10)


def test_without_patience_all_epochs_are_done_and_the_best_control_is_restored():
    functional, control = make()
    validation = Scripted(3.0, 1.0, 2.0)
    result = run(functional, control, pint.adam(), validation=validation)
    assert result.status is pint.Status.ITERATION_LIMIT
    assert len(result.history) == 12
    np.testing.assert_array_equal(result.control.vector, validation.controls[1])
    # A validation that is never a number leaves the last control.
    validation = Scripted(*3 * [math.nan])
    result = run(functional, control, pint.adam(), validation=validation)
    np.testing.assert_array_equal(result.control.vector, validation.controls[2])


def test_a_validation_may_use_the_functional_itself():
    functional, control = make()

    def validation(control):
        functional.select(np.arange(4))
        return functional.value(control)

    result = run(functional, control, pint.adam(), validation=validation)
    plain = run(functional, control, pint.adam())
    rows = [[row.objective for row in each.history] for each in (result, plain)]
    assert rows[0] == rows[1]


def test_training_options_out_of_range():
    def method(**options):
        return pint.Stochastic(pint.adam(), 1, 0.1, **options)

    for options, name in (
        ({"clip": 0.0}, "clip"),
        ({"patience": 2}, "validation"),
        ({"validation": len, "patience": 0}, "patience"),
        ({"schedule": pint.schedules.cosine(3), "decay": 0.1}, "decay"),
    ):
        with pytest.raises(ValueError, match=name):
            method(**options)
    for name in ("schedule", "validation"):
        with pytest.raises(TypeError, match=name):
            method(**{name: 3.0})
    functional, control = make()
    for options, name in (
        ({"schedule": lambda update, epoch: -1.0}, "schedule"),
        ({"schedule": lambda update, epoch: None}, "schedule"),
    ):
        with pytest.raises(ValueError, match=name):
            pint.minimize(functional, control, method(**options))
    with pytest.raises(TypeError, match="validation"):
        pint.minimize(functional, control, method(validation=lambda control: "good"))
    with pytest.raises(ValueError, match="weight_decay"):
        pint.adam(weight_decay=-1.0)
    with pytest.raises(ValueError, match="by"):
        pint.schedules.step(3, by="year")
    with pytest.raises(ValueError, match="then"):
        pint.schedules.warm_up(3, pint.schedules.cosine(3), by="update")
    for make_wrong in (lambda: pint.schedules.cosine(0), lambda: pint.schedules.warm_up(0)):
        with pytest.raises(ValueError, match="total"):
            make_wrong()
