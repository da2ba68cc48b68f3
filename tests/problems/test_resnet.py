"""The dense networks against plain numpy loops in (examples, features) layout."""

import re

import numpy as np
import pytest
from activation_formulas import SIGMA
from scipy.special import log_softmax

import pint
from pint.equations import March
from problems.classification import accuracy
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

FINAL_TIME, LAYERS = 1.5, 6


def random_control(controls, seed=0):
    random = np.random.default_rng(seed)
    return controls.control(
        **{
            name: 0.7
            * random.standard_normal(
                ((controls.grid.steps,) if name in controls.time_fields else ()) + field.shape
            )
            for name, field in controls.fields.items()
        }
    )


def plain_loop(network, control, x):
    """Return y_0, ..., y_N as (examples, features) matrices, one example at a time."""
    sigma, dt = SIGMA[network.activation], FINAL_TIME / LAYERS
    trajectories = []
    for example in x:
        if network.opening == "trained":
            y = sigma(control["opening_weight"] @ example + control["opening_bias"])
        else:
            y = np.concatenate([example, np.zeros(network.width - network.features)])
        trajectory = [y]
        for n in range(LAYERS):
            y = y + dt * sigma(control["weight"][n] @ y + control["bias"][n])
            trajectory.append(y)
        trajectories.append(trajectory)
    return np.array(trajectories).swapaxes(0, 1)


def functional_of(network, *arguments):
    """Return the functional of fitting examples to labels."""
    problem = network.problem(*arguments)
    return pint.ReducedFunctional(problem, pint.TimeGrid.uniform(FINAL_TIME, LAYERS))


@pytest.mark.parametrize(
    ("activation", "bias", "opening"),
    [
        ("tanh", "vector", "trained"),
        ("relu", "scalar", "trained"),
        ("smoothrelu", "vector", "pad"),
        ("tanh", "scalar", "pad"),
        ("relu", "vector", "pad"),
        ("smoothrelu", "scalar", "trained"),
    ],
)
def test_network_equals_a_plain_loop(activation, bias, opening):
    network = DenseNetwork(2, 4, 5, activation=activation, bias=bias, opening=opening)
    x, labels = generate(9, seed=0)
    functional = functional_of(network, x, labels)
    control = random_control(functional.controls)
    assert control["bias"].shape == (LAYERS, 4 if bias == "vector" else 1)
    state = functional.state.new()
    functional.state.solve(state, control, March())

    expected = plain_loop(network, control, x)
    np.testing.assert_allclose(state.points.transpose(0, 2, 1), expected, rtol=1e-13, atol=1e-14)
    z = expected[-1] @ control["classification_weight"].T + control["classification_bias"]
    loss = -(labels * log_softmax(z, axis=1)).sum(axis=1).mean()
    assert functional.objective(state).cost == pytest.approx(loss, rel=1e-13)
    hits = sum(int(row.argmax() == label.argmax()) for row, label in zip(z, labels, strict=True))
    assert accuracy(state.points[-1], control.shared, labels.T) == pytest.approx(100 * hits / 9)


def test_regularisers_are_those_of_the_definition():
    network = DenseNetwork(2, 3, 5)
    x, labels = generate(4, seed=0)
    control = random_control(functional_of(network, x, labels).controls)
    dt = FINAL_TIME / LAYERS
    u = np.concatenate([control["weight"].reshape(LAYERS, -1), control["bias"]], axis=1)
    opening = (control["opening_weight"] ** 2).sum() + (control["opening_bias"] ** 2).sum()
    last = sum((control[f"classification_{name}"] ** 2).sum() for name in ("weight", "bias"))
    smooth = dt * (((u[1:] - u[:-1]) / dt) ** 2).sum()

    def terms(**weights):
        functional = functional_of(network, x, labels, Regularisation(**weights))
        state = functional.state.new()
        functional.state.solve(state, control, March())
        return sum(functional.objective(state).regularisers)

    assert terms() == 0
    assert terms(tikhonov=0.3) == pytest.approx(0.15 * dt * (u**2).sum(), rel=1e-13)
    assert terms(opening=0.3) == pytest.approx(0.15 * opening, rel=1e-13)
    assert terms(classification=0.3) == pytest.approx(0.15 * last, rel=1e-13)
    assert terms(smooth=0.3) == pytest.approx(0.15 * smooth, rel=1e-13)


def test_residuals_are_divided_by_the_number_of_examples():
    stepper = DenseNetwork(2, 3, 5).stepper(np.ones((8, 2)))
    assert stepper.space.squared_norm(np.ones((1, 3, 8))) == pytest.approx(24 / 8**2)


# Derivatives against complex differences of the plain formulas


@pytest.mark.parametrize("opening", ["trained", "pad"])
@pytest.mark.parametrize("bias", ["vector", "scalar"])
def test_gradient_equals_differences_of_the_plain_loop(bias, opening):
    network = DenseNetwork(2, 3, 5, bias=bias, opening=opening)
    x, labels = generate(6, seed=2)
    functional = functional_of(network, x, labels)
    controls = functional.controls
    control = random_control(controls)
    derivative = functional.derivative(control)

    def loss(control):
        y = plain_loop(network, control, x)[-1]
        z = y @ control["classification_weight"].T + control["classification_bias"]
        return -(labels * (z - np.log(np.exp(z).sum(axis=1, keepdims=True)))).sum() / 6

    for index in range(controls.size):
        moved = pint.Control(controls, control.vector.astype(complex))
        moved.vector[index] += 1e-30j
        expected = loss(moved).imag / 1e-30
        assert derivative.vector[index] == pytest.approx(expected, rel=1e-11, abs=1e-14)


# Openings


def test_padding_puts_zeros_after_the_features_and_trains_nothing():
    network = DenseNetwork(2, 5, 3, opening="pad")
    x = np.arange(6.0).reshape(3, 2)
    controls = network.controls(pint.TimeGrid.uniform(1.0, 2))
    assert list(controls.shared_fields) == ["classification_weight", "classification_bias"]
    initial = network.stepper(x).initial({})
    np.testing.assert_array_equal(initial[:2], x.T)
    np.testing.assert_array_equal(initial[2:], 0.0)


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 0}, "`features` must be at least 1, got 0"),
        ({"width": -1}, "`width` must be at least 1, got -1"),
        ({"classes": 0}, "`classes` must be at least 1, got 0"),
        ({"width": 4.0}, "`width` must be an integer, got 4.0"),
        ({"activation": "sine"}, "`activation` must be one of tanh, relu, smoothrelu, got 'sine'"),
        ({"bias": "none"}, "`bias` must be one of vector, scalar, got 'none'"),
        ({"opening": "conv"}, "`opening` must be one of trained, pad, got 'conv'"),
        ({"width": 1, "opening": "pad"}, "`width` is 1, but padding 2 features"),
    ],
)
def test_network_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        DenseNetwork(**{"features": 2, "width": 3, "classes": 2, **options})


X, LABELS = np.zeros((3, 2)), np.eye(2)[[0, 1, 1]]


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (np.zeros((3, 4)), LABELS, "`x` must have shape (B >= 1, 2), got (3, 4)"),
        (np.zeros(3), LABELS, "`x` must have shape (B >= 1, 2), got (3,)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "`x` must have shape (B >= 1, 2), got (0, 2)"),
        (X, np.eye(3), "`labels` must have shape (3, 2), got (3, 3)"),
        (X, np.array([0, 1, 1]), "`labels` must have shape (3, 2), got (3,)"),
        (np.where(X == 0, np.nan, X), LABELS, "`x` contains NaN or infinity"),
        (X + np.inf, LABELS, "`x` contains NaN or infinity"),
        (X, 0.5 + 0 * LABELS, "`labels` must be one-hot"),
        (X, 1.0 + 0 * LABELS, "`labels` must be one-hot"),
        (X, 0 * LABELS, "`labels` must be one-hot"),
        (X, np.where(LABELS == 1, np.nan, LABELS), "`labels` must be one-hot"),
    ],
)
def test_problem_refuses_bad_examples(x, labels, message):
    network = DenseNetwork(2, 3, 2)
    with pytest.raises(ValueError, match=re.escape(message)):
        network.problem(x, labels)


def test_negative_weight_is_refused():
    network = DenseNetwork(2, 3, 2)
    with pytest.raises(ValueError, match="gamma"):
        network.problem(X, LABELS, Regularisation(tikhonov=-1.0))


# Random start


class RankOf:
    """A rank of three, as far as a control needs it without messages."""

    size = 3

    def __init__(self, rank):
        self.rank = rank


@pytest.mark.parametrize("bias", ["vector", "scalar"])
def test_random_control_is_seeded_and_the_same_on_any_number_of_ranks(bias):
    network = DenseNetwork(2, 3, 4, bias=bias)

    def start(comm=None, seed=0):
        grid = pint.TimeGrid.uniform(1.0, 7, coarsening=2, levels=2, comm=comm)
        controls = network.controls(grid)
        return network.random_control(controls, seed)

    serial, other = start(), start(seed=1)
    np.testing.assert_array_equal(serial.vector, start().vector)
    assert not np.array_equal(serial.vector, other.vector)
    parts = [start(RankOf(rank)) for rank in range(3)]
    for name in serial.space.time_fields:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), serial[name])
    for name in serial.space.shared_fields:
        for part in parts:
            np.testing.assert_array_equal(part[name], serial[name])


@pytest.mark.parametrize("kept", [False, True])
def test_the_derivative_alone_is_that_of_the_whole_transpose(kept):
    """``vjp(out=False)`` leaves out the product with respect to the state, and nothing else."""
    problem = DenseNetwork(2, 4, 5).problem(*generate(7, seed=1))
    random, s = np.random.default_rng(0), pint.TimeGrid.uniform(1.0, 6).batch(0, range(6), 2)
    y, lam = random.standard_normal((2, 6, 4, 7))
    u = {"weight": random.standard_normal((6, 4, 4)), "bias": random.standard_normal((6, 4))}
    if kept:
        s = s._replace(kept=np.empty_like(y))
        problem.stepper.step(s, y, u, {})
    dy, du, _ = problem.adjoint.vjp(s, y, u, {}, lam)
    nothing, alone, _ = problem.adjoint.vjp(s, y, u, {}, lam, out=False)
    assert dy.shape == y.shape
    assert nothing is None
    for name, values in du.items():
        np.testing.assert_array_equal(alone[name], values)
