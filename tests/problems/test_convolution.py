"""Convolutional networks against scipy's correlations of one example and two channels."""

import re

import numpy as np
import pytest
import scipy  # loads `scipy.signal` where the tests run, not where they are collected
from activation_formulas import SIGMA
from registry import random_control
from scipy.special import log_softmax

import pint
from pint.equations import March
from pint.verify import check_problem
from problems.classification import accuracy
from problems.convolution import Convolution, ConvolutionalNetwork, Pooling
from problems.pooled_images import PooledMap
from problems.resnet import Regularisation, ResidualLayersAdjoint

FINAL_TIME, LAYERS = 1.5, 4
VARIANTS = [  # each two options in each combination
    (1, "tanh", "vector", "trained", 1),
    (1, "relu", "scalar", "replicate", 2),
    (1, "smoothrelu", "vector", "replicate", 2),
    (2, "tanh", "scalar", "replicate", 1),
    (2, "relu", "vector", "trained", 2),
    (2, "smoothrelu", "scalar", "trained", 1),
    (4, "tanh", "vector", "replicate", 2),
    (4, "relu", "vector", "replicate", 1),
    (4, "smoothrelu", "scalar", "trained", 2),
    (4, "tanh", "scalar", "trained", 1),
]


def batch(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def correlated(kernels, image):
    """Return K * y of one example, shape (outputs, height, width).

    scipy's correlation takes the conjugate of the kernel, which complex differences must not.
    """
    pairs = [
        [
            scipy.signal.correlate2d(y, k.conj(), mode="same")
            for y, k in zip(image, row, strict=True)
        ]
        for row in kernels
    ]
    return np.sum(pairs, axis=1)


def transposed(kernels, image):
    """Return K^T w of one example: the adjoint of a correlation is a convolution."""
    pairs = [
        [scipy.signal.convolve2d(w, k, mode="same") for w, k in zip(image, column, strict=True)]
        for column in kernels.swapaxes(0, 1)
    ]
    return np.sum(pairs, axis=1)


def kernel_derivative(image, slope, size):
    """Return the derivative of slope . (K * y) with respect to K, of one example."""
    padded = np.pad(image, [(0, 0), (size // 2,) * 2, (size // 2,) * 2])
    return np.array([[scipy.signal.correlate2d(y, w, mode="valid") for y in padded] for w in slope])


def over_examples(function, *blocks):
    """Apply a function to each step and example; they are the first and the last axis."""
    steps, examples = blocks[-1].shape[0], blocks[-1].shape[-1]
    rows = [
        [function(*(block[s][..., e] for block in blocks)) for e in range(examples)]
        for s in range(steps)
    ]
    return np.moveaxis(np.array(rows), 1, -1)


# One layer


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


SHAPES = [(3, 7, 5), (3, 2, 2), (5, 3, 6), (1, 4, 3), (7, 4, 4)]


CHANNELS = [(1, 1), (2, 2), (4, 4), (1, 4), (3, 2)]


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "height", "width"),
    [
        *((*channels, *SHAPES[0]) for channels in CHANNELS),
        *((3, 2, *shape) for shape in SHAPES[1:]),
        (4, 4, 5, 3, 6),
        (1, 4, 3, 2, 2),
    ],
)
def test_convolution_and_transposes_equal_scipys(inputs, outputs, size, height, width):
    steps, examples = 2, 3
    y = batch(steps, inputs, height, width, examples)
    slope = batch(steps, outputs, height, width, examples, seed=1)
    lam = batch(steps, inputs, height, width, examples, seed=2)
    for biases in (outputs, 1):
        u = {
            "weight": batch(steps, outputs, inputs, size, size, seed=3),
            "bias": batch(steps, biases, seed=4),
        }
        kernels = np.broadcast_to(u["weight"][..., None], (*u["weight"].shape, examples))
        affine = Convolution(size)
        expected = over_examples(correlated, kernels, y) + u["bias"][..., None, None, None]
        assert_close(affine.apply(y, u), expected)
        gathered = affine.gather(slope)
        out = np.full_like(lam, np.nan)
        affine.transposed(out, u, gathered, lam)
        assert_close(out, lam + over_examples(transposed, kernels, slope))
        derivative = affine.derivative(y, u, gathered)
        expected = over_examples(lambda y, w: kernel_derivative(y, w, size), y, slope).sum(axis=-1)
        assert_close(derivative["weight"], expected)
        sums = slope.sum(axis=(2, 3, 4))
        assert_close(derivative["bias"], sums if biases > 1 else sums.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("activation", "channels", "bias", "kept"),
    [
        ("tanh", 1, "vector", False),
        ("tanh", 2, "scalar", True),
        ("relu", 2, "vector", True),
        ("relu", 4, "scalar", False),
        ("smoothrelu", 1, "scalar", True),
        ("smoothrelu", 4, "vector", True),
        ("smoothrelu", 2, "vector", False),
    ],
)
def test_step_and_transposes_equal_scipys(activation, channels, bias, kept):
    network = ConvolutionalNetwork((1, 5, 4), channels, 2, 3, activation, bias, "replicate")
    stepper = network.stepper(batch(3, 1, 5, 4))
    adjoint = ResidualLayersAdjoint(stepper)
    s = pint.TimeGrid([0.0, 0.3, 1.0]).batch(0, range(2), 4)
    y, lam = batch(2, channels, 5, 4, 3, seed=1), batch(2, channels, 5, 4, 3, seed=2)
    biases = channels if bias == "vector" else 1
    u = {"weight": batch(2, channels, channels, 3, 3, seed=3), "bias": batch(2, biases, seed=4)}
    kernels = np.broadcast_to(u["weight"][..., None], (*u["weight"].shape, 3))
    sigma = SIGMA[activation]
    z = over_examples(correlated, kernels, y) + u["bias"][..., None, None, None]
    slope = np.imag(sigma(z + 1e-30j)) / 1e-30 * s.dt * lam

    s = s._replace(kept=np.full_like(y, np.nan)) if kept else s
    assert_close(stepper.step(s, y, u, {}), y + s.dt * sigma(z))
    assert_close(adjoint.step(s, y, u, {}, lam), lam + over_examples(transposed, kernels, slope))
    dy, derivative, shared = adjoint.vjp(s, y, u, {}, lam)
    assert_close(dy, lam + over_examples(transposed, kernels, slope))
    out = np.full_like(y, np.nan)
    assert adjoint.vjp(s, y, u, {}, lam, out=out)[0] is out
    np.testing.assert_array_equal(out, dy)
    assert stepper.step(s, y, u, {}, out=out) is out
    assert_close(out, y + s.dt * sigma(z))
    weight = over_examples(lambda y, w: kernel_derivative(y, w, 3), y, slope).sum(axis=-1)
    assert_close(derivative["weight"], weight)
    assert_close(derivative["bias"], slope.reshape(2, biases, -1).sum(axis=-1))
    assert shared == {}


def test_batches_and_numbers_of_any_kind_in_turn():
    """Scratch arrays are used again, or made anew for other sizes, and lend nothing to results."""
    affine, y = Convolution(3), batch(5, 2, 4, 3, 2)
    u = {"weight": batch(5, 2, 2, 3, 3, seed=1), "bias": batch(5, 2, seed=2)}
    expected = Convolution(3).apply(y, u)
    first = affine.apply(y[:1], {name: values[:1] for name, values in u.items()})
    for rows in (slice(0, 5), slice(3, 5), slice(4, None, -2)):
        for factor in (1.0, 1j):
            some = {name: factor * values[rows] for name, values in u.items()}
            np.testing.assert_allclose(
                affine.apply(y[rows], some), factor * expected[rows], rtol=1e-13, atol=1e-13
            )
    affine.gather(1e3 + batch(5, 2, 3, 4, 2))  # as many pixels in another shape
    np.testing.assert_array_equal(affine.apply(y, u), expected)
    np.testing.assert_array_equal(first, expected[:1])


# The network


def plain_loop(network, control, x):
    """Return y_0, ..., y_N, shape (examples, N + 1, channels, height, width)."""
    sigma, dt = SIGMA[network.activation], FINAL_TIME / LAYERS
    trajectories = []
    for example in x:
        if network.opening == "trained":
            z = correlated(control["opening_weight"], example)
            y = sigma(z + control["opening_bias"][:, None, None])
        else:
            y = np.stack([example[j % len(example)] for j in range(network.channels)])
        trajectory = [y]
        for n in range(LAYERS):
            z = correlated(control["weight"][n], y) + control["bias"][n][:, None, None]
            y = y + dt * sigma(z)
            trajectory.append(y)
        trajectories.append(trajectory)
    return np.array(trajectories)


def plain_logits(network, control, states):
    """Return the logits of the last states, shape (examples, classes)."""
    p = network.pool
    _, channels, height, width = states.shape
    features = [
        [
            states[e, c, i : i + p, j : j + p].sum() / p**2
            for c in range(channels)
            for i in range(0, height, p)
            for j in range(0, width, p)
        ]
        for e in range(len(states))
    ]
    weight, bias = control["classification_weight"], control["classification_bias"]
    return np.array(features) @ weight.T + bias


def plain_loss(network, control, x, labels):
    z = plain_logits(network, control, plain_loop(network, control, x)[:, -1])
    return -(labels * (z - np.log(np.exp(z).sum(axis=1, keepdims=True)))).sum() / len(x)


def functional_of(network, x, labels):
    grid = pint.TimeGrid.uniform(FINAL_TIME, LAYERS)
    return pint.ReducedFunctional(network.problem(x, labels), grid)


def network_of(channels, activation, bias, opening, pool):
    """Return a network, three examples and their labels; as many channels or fewer in an image."""
    image = (min(2, channels), 2, 4)
    network = ConvolutionalNetwork(image, channels, 3, 3, activation, bias, opening, pool)
    return network, batch(3, *image), np.eye(3)[[2, 0, 1]]


@pytest.mark.parametrize(("channels", "activation", "bias", "opening", "pool"), VARIANTS)
def test_network_and_gradient_equal_those_of_a_plain_loop(
    channels, activation, bias, opening, pool
):
    network, x, labels = network_of(channels, activation, bias, opening, pool)
    functional = functional_of(network, x, labels)
    controls = functional.controls
    control = random_control(controls)
    state = functional.state.new()
    functional.state.solve(state, control, March())
    expected = plain_loop(network, control, x)
    np.testing.assert_allclose(np.moveaxis(state.points, -1, 0), expected, rtol=1e-12, atol=1e-13)
    z = plain_logits(network, control, expected[:, -1])
    loss = -(labels * log_softmax(z, axis=1)).sum(axis=1).mean()
    assert functional.objective(state).cost == pytest.approx(loss, rel=1e-13)
    hits = 100 * float((z.argmax(axis=1) == labels.argmax(axis=1)).mean())
    features = network.readout.features(state.points[-1])
    assert accuracy(features, control.shared, labels.T) == pytest.approx(hits)

    derivative = functional.derivative(control)
    for seed in (1, 2):
        direction = random_control(controls, seed)
        moved = pint.Control(controls, control.vector + 1e-30j * direction.vector)
        expected = plain_loss(network, moved, x, labels).imag / 1e-30
        scale = np.linalg.norm(derivative.vector) * np.linalg.norm(direction.vector)
        assert controls.pair(derivative, direction) == pytest.approx(expected, abs=1e-13 * scale)


@pytest.mark.parametrize("opening", ["trained", "replicate"])
def test_each_entry_of_the_gradient(opening):
    network, x, labels = network_of(2, "tanh", "vector", opening, 2)
    functional = functional_of(network, x, labels)
    controls = functional.controls
    control = random_control(controls)
    derivative = functional.derivative(control)
    for index in range(0, controls.size, 3):
        moved = pint.Control(controls, control.vector.astype(complex))
        moved.vector[index] += 1e-30j
        expected = plain_loss(network, moved, x, labels).imag / 1e-30
        assert derivative.vector[index] == pytest.approx(expected, rel=1e-11, abs=1e-14)


def test_check_of_the_problem_passes():
    network, x, labels = network_of(4, "tanh", "vector", "trained", 2)
    grid = pint.TimeGrid.uniform(FINAL_TIME, 12, coarsening=2, levels=3)
    weights = Regularisation(1e-2, 2e-2, 3e-2, 4e-2)
    report = check_problem(network.problem(x, labels, weights), grid)
    assert report.passed, report


@pytest.mark.parametrize(
    ("levels", "cycle", "relaxation"), [(2, "V", "F"), (3, "V", "FCF"), (3, "F", "F")]
)
def test_mgrit_gives_the_sequential_state_and_gradient(levels, cycle, relaxation):
    network, x, labels = network_of(4, "tanh", "scalar", "trained", 1)

    def solved(levels, **options):
        grid = pint.TimeGrid.uniform(FINAL_TIME, 17, coarsening=[2, 3][: levels - 1], levels=levels)
        functional = pint.ReducedFunctional(network.problem(x, labels), grid, **options)
        control = random_control(functional.controls, deviation=0.3)
        return functional.value(control), functional.derivative(control).vector

    accuracy = pint.Accuracy(30, relative=1e-14)
    value, derivative = solved(levels, accuracy=accuracy, cycle=cycle, relaxation=relaxation)
    expected_value, expected = solved(1)
    assert value == pytest.approx(expected_value, rel=1e-12)
    np.testing.assert_allclose(derivative, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_training_by_mgrit_finds_bars_wherever_they_are():
    """Horizontal and vertical bars at all places: no pixel tells them apart, a kernel does."""
    images = np.zeros((2, 6, 1, 6, 6))
    for place in range(6):
        images[0, place, 0, place] = images[1, place, 0, :, place] = 1.0
    x, labels = images.reshape(12, 1, 6, 6), np.repeat(np.eye(2), 6, axis=0)
    network = ConvolutionalNetwork((1, 6, 6), 2, 2, activation="relu", pool=6)
    grid = pint.TimeGrid.uniform(2.0, 8, coarsening=2, levels=3)
    problem = network.problem(x, labels, Regularisation(1e-4, 1e-4, 1e-4, 1e-4))
    functional = pint.ReducedFunctional(problem, grid)
    start = network.random_control(functional.controls, seed=0)
    result = pint.minimize(functional, start, pint.OneShot(cycles=2, iterations=60))
    assert result.objective < 0.1 * result.history[0].objective
    last = np.moveaxis(result.states()[-1], -1, 0)
    z = plain_logits(network, result.control, last)
    np.testing.assert_array_equal(z.argmax(axis=1), labels.argmax(axis=1))


# Openings and pooling


def test_replication_takes_channels_in_turn_and_trains_nothing():
    network = ConvolutionalNetwork((2, 3, 4), 5, 3, opening="replicate")
    x = batch(6, 2, 3, 4)
    controls = network.controls(pint.TimeGrid.uniform(1.0, 2))
    assert list(controls.shared_fields) == ["classification_weight", "classification_bias"]
    initial = network.stepper(x).initial({})
    assert initial.shape == (5, 3, 4, 6)
    for channel in range(5):
        np.testing.assert_array_equal(initial[channel], np.moveaxis(x[:, channel % 2], 0, -1))


def test_fields_have_the_shapes_of_the_definition():
    network = ConvolutionalNetwork((3, 4, 6), 2, 5, kernel=5, bias="scalar", pool=2)
    controls = network.controls(pint.TimeGrid.uniform(1.0, 2))
    assert {name: field.shape for name, field in controls.fields.items()} == {
        "opening_weight": (2, 3, 5, 5),
        "opening_bias": (1,),
        "weight": (2, 2, 5, 5),
        "bias": (1,),
        "classification_weight": (5, 2 * 2 * 3),
        "classification_bias": (5,),
    }


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pooling_averages_windows_and_its_transpose_is_one(size):
    y, pooling = batch(2, 6, 12, 3), Pooling(size)
    features = pooling.features(y)
    windows = features.reshape(2, 6 // size, 12 // size, 3)
    block = y[1, size : 2 * size, 2 * size : 3 * size]
    np.testing.assert_allclose(windows[1, 1, 2], block.mean(axis=(0, 1)), rtol=1e-14)
    w = batch(*features.shape, seed=1)
    assert (w * features).sum() == pytest.approx((pooling.transposed(w, y.shape) * y).sum())


def test_residuals_are_divided_by_the_number_of_examples():
    stepper = ConvolutionalNetwork((1, 3, 4), 2, 5).stepper(np.ones((8, 1, 3, 4)))
    assert stepper.space.squared_norm(np.ones((1, 2, 3, 4, 8))) == pytest.approx(192 / 8**2)


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": (4, 6)}, "`image` must be channels, height and width, got (4, 6)"),
        ({"image": (0, 4, 6)}, "`image channels` must be at least 1, got 0"),
        ({"image": (1, 4, -6)}, "`width` must be at least 1, got -6"),
        ({"channels": 0}, "`channels` must be at least 1, got 0"),
        ({"classes": 0}, "`classes` must be at least 1, got 0"),
        ({"kernel": -1}, "`kernel` must be at least 1, got -1"),
        ({"kernel": 4}, "`kernel` must be odd, so that it has a centre, got 4"),
        ({"kernel": 9}, "`kernel` is 9, but its outer weights meet only zeros"),
        ({"pool": 0}, "`pool` must be at least 1, got 0"),
        ({"pool": 4}, "`pool` must divide height and width, got 4 for 4 x 6"),
        ({"activation": "sine"}, "`activation` must be one of tanh, relu, smoothrelu, got 'sine'"),
        ({"bias": "none"}, "`bias` must be one of vector, scalar, got 'none'"),
        ({"opening": "pad"}, "`opening` must be one of trained, replicate, got 'pad'"),
        ({"pooled_levels": -1}, "pooled_levels=...)` must be an integer >= 0, got -1"),
        ({"pooled_levels": 2}, "`pooled_levels` is 2, but images of 4 x 6 cannot be halved"),
        ({"pooled_levels": 1, "kernel": 5}, "often and stay 3 pixels high and wide"),
        ({"channels": 1, "opening": "replicate"}, "`channels` is 1, but replicating 2 channels"),
    ],
)
def test_network_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ConvolutionalNetwork(**{"image": (2, 4, 6), "channels": 3, "classes": 2, **options})


X, LABELS = np.zeros((3, 2, 4, 6)), np.eye(2)[[0, 1, 1]]


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (X[0], LABELS, "`x` must have shape (B >= 1, 2, 4, 6), got (2, 4, 6)"),
        (X.reshape(3, 48), LABELS, "`x` must have shape (B >= 1, 2, 4, 6), got (3, 48)"),
        (X.swapaxes(2, 3), LABELS, "`x` must have shape (B >= 1, 2, 4, 6), got (3, 2, 6, 4)"),
        (X[:0], LABELS[:0], "`x` must have shape (B >= 1, 2, 4, 6), got (0, 2, 4, 6)"),
        (np.array(1.0), LABELS, "`x` must have shape (B >= 1, 2, 4, 6), got ()"),
        (X, LABELS[:2], "`labels` must have shape (3, 2), got (2, 2)"),
        (X + np.nan, LABELS, "`x` contains NaN or infinity"),
        (X, 0.5 + 0 * LABELS, "`labels` must be one-hot"),
    ],
)
def test_problem_refuses_bad_examples(x, labels, message):
    network = ConvolutionalNetwork((2, 4, 6), 2, 2)
    with pytest.raises(ValueError, match=re.escape(message)):
        network.problem(x, labels)


def test_random_control_is_seeded_and_has_the_deviations_of_its_inputs():
    network = ConvolutionalNetwork((3, 8, 8), 40, 10, pool=2)
    controls = network.controls(pint.TimeGrid.uniform(1.0, 3))
    control = network.random_control(controls, seed=0)
    np.testing.assert_array_equal(control.vector, network.random_control(controls, 0).vector)
    assert not np.array_equal(control.vector, network.random_control(controls, 1).vector)
    assert control["opening_weight"].std() == pytest.approx(27**-0.5, rel=0.1)
    assert control["weight"].std() == pytest.approx(0.1 * 360**-0.5, rel=0.1)
    assert control["classification_weight"].std() == pytest.approx(640**-0.5, rel=0.1)
    np.testing.assert_array_equal(control["weight"][0], control["weight"][2])
    assert not control["bias"].any()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_layers_of_coarse_levels_are_galerkin_products(kernel, times):
    """For images that are constant in each window, and pooled, they are what the layer gives."""
    random, width = np.random.default_rng(4), 2**times
    small = random.standard_normal((3, 2, 4, 5, 2))
    whole = small.repeat(width, axis=2).repeat(width, axis=3)
    u = {
        "weight": random.standard_normal((3, 4, 2, kernel, kernel)),
        "bias": random.standard_normal((3, 4)),
    }
    exact = Convolution(kernel).apply(whole, u)
    means = exact.reshape(3, 4, 4, width, 5, width, 2).mean(axis=(3, 5))
    found = PooledMap(Convolution(kernel), kernel, times).apply(whole, u)
    np.testing.assert_allclose(found, means.repeat(width, axis=2).repeat(width, axis=3))


def test_pooled_images_on_coarse_levels_change_no_gradient():
    x, labels = np.random.default_rng(5).standard_normal((4, 1, 8, 8)), np.eye(2)[[0, 1, 1, 0]]
    found = []
    for pooled_levels, levels in ((0, 1), (2, 3)):
        network = ConvolutionalNetwork((1, 8, 8), 2, 2, pooled_levels=pooled_levels)
        grid = pint.TimeGrid.uniform(1.0, 16, 2, levels)
        accuracy = pint.Accuracy(30, relative=1e-14)
        functional = pint.ReducedFunctional(
            network.problem(x, labels), grid, accuracy=accuracy, unconverged="ignore"
        )
        control = network.random_control(functional.controls, seed=1)
        found.append(functional.gradient(control).vector)
    np.testing.assert_allclose(*found, rtol=1e-10, atol=1e-13)
