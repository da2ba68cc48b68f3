"""Controls on other time grids: functions of time against their closed forms."""

import numpy as np
import pytest
import scipy.sparse

import pint
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation


def space(grid, **field):
    return pint.ControlSpace(
        grid,
        u=pint.TimeControl((2, 3), **field),
        theta=pint.SharedControl(4),
        b=pint.TimeControl(1),
    )


def uniform(steps, **field):
    return space(pint.TimeGrid.uniform(2.0, steps), **field)


def random(space, seed=0):
    return pint.Control(space, np.random.default_rng(seed).standard_normal(space.size))


@pytest.mark.parametrize("interpolate", ["constant", "linear"])
def test_shared_fields_and_the_same_grid_are_copied(interpolate):
    control = random(uniform(6))
    np.testing.assert_array_equal(
        pint.prolong(control, uniform(6), interpolate).vector, control.vector
    )
    np.testing.assert_array_equal(
        pint.prolong(control, uniform(11), interpolate)["theta"], control["theta"]
    )


@pytest.mark.parametrize("ratio", [2, 3, 7])
def test_piecewise_constant_controls_are_reproduced_on_refined_grids(ratio):
    t = np.concatenate([[0.0], np.cumsum(np.random.default_rng(1).uniform(0.1, 1.0, 9))])
    fine = np.interp(np.arange(9 * ratio + 1) / ratio, np.arange(10), t)
    control = random(space(pint.TimeGrid(t)))
    finer = pint.prolong(control, space(pint.TimeGrid(fine)))
    np.testing.assert_array_equal(finer["u"], np.repeat(control["u"], ratio, axis=0))
    # and back: the mean over a coarse step
    np.testing.assert_allclose(
        pint.prolong(finer, control.space).vector, control.vector, rtol=1e-13
    )


@pytest.mark.parametrize(("old", "new"), [(4, 6), (6, 4), (5, 13), (13, 5), (1, 3), (3, 1)])
def test_any_ratio_gives_the_means_over_the_new_steps(old, new):
    control = random(uniform(old))
    t, integral = np.linspace(0, 2, old + 1), np.zeros((old + 1, 2, 3))
    integral[1:] = np.cumsum(control["u"] * 2 / old, axis=0)
    ends = np.linspace(0, 2, new + 1)
    expected = np.empty((new, 2, 3))
    for place in np.ndindex(2, 3):
        at_ends = np.interp(ends, t, integral[(slice(None), *place)])
        expected[(slice(None), *place)] = np.diff(at_ends) * new / 2
    np.testing.assert_allclose(pint.prolong(control, uniform(new))["u"], expected, atol=1e-13)


@pytest.mark.parametrize(("old", "new"), [(4, 8), (6, 4), (5, 13), (2, 3)])
def test_linear_interpolation_reproduces_linear_functions(old, new):
    def blocks(steps):
        middles = (np.arange(steps) + 0.5) * 2 / steps
        return 3.0 - 1.5 * middles[:, None, None] * np.arange(6).reshape(2, 3)

    control = uniform(old).control(u=blocks(old))
    finer = pint.prolong(control, uniform(new), "linear")
    np.testing.assert_allclose(finer["u"], blocks(new), atol=1e-13)


def test_linear_interpolation_is_of_second_order_where_blocks_are_of_first():
    def errors(interpolate):
        found = []
        for steps in (32, 64, 128):
            middles = (np.arange(steps) + 0.5) * 2 / steps
            control = uniform(steps).control(b=np.sin(3 * middles)[:, None])
            finer = pint.prolong(control, uniform(4 * steps), interpolate)["b"].ravel()
            exact = np.sin(3 * (np.arange(4 * steps) + 0.5) * 2 / (4 * steps))
            found.append(abs(finer - exact).max())
        return np.log2(found[0] / found[1]), np.log2(found[1] / found[2])

    np.testing.assert_allclose(errors("constant"), 1, atol=0.1)
    np.testing.assert_allclose(errors("linear"), 2, atol=0.1)


def test_bounds_and_coarser_control_meshes():
    control = uniform(4).control(u=np.arange(4.0)[:, None, None] * np.ones((2, 3)))
    bounded = pint.prolong(control, uniform(8, lower=0.0, upper=2.0), "linear")
    assert bounded["u"].min() == 0.0  # extrapolation would give -0.25
    assert bounded["u"].max() == 2.0
    coarse = pint.prolong(control, uniform(8, every=4))
    np.testing.assert_allclose(coarse["u"][:, 0, 0], [0.5] * 4 + [2.5] * 4, rtol=1e-14)


def test_what_does_not_fit_is_refused():
    control = random(uniform(4))
    with pytest.raises(ValueError, match="interpolate"):
        pint.prolong(control, uniform(8), "cubic")
    with pytest.raises(ValueError, match="final time"):
        pint.prolong(control, space(pint.TimeGrid.uniform(1.0, 8)))
    grid = pint.TimeGrid.uniform(2.0, 8)
    with pytest.raises(ValueError, match="`b`"):
        pint.prolong(
            control,
            pint.ControlSpace(grid, u=pint.TimeControl((2, 3)), theta=pint.SharedControl(4)),
        )
    with pytest.raises(ValueError, match="`theta`"):
        pint.prolong(
            control,
            pint.ControlSpace(
                grid, u=pint.TimeControl((2, 3)), theta=pint.SharedControl(5), b=pint.TimeControl(1)
            ),
        )


# Networks

NETWORK = DenseNetwork(features=2, width=4, classes=5)
DATA = generate(60, seed=0)


def functional(layers):
    problem = NETWORK.problem(*DATA, Regularisation(1e-4, 1e-4, 1e-4))
    return pint.ReducedFunctional(problem, pint.TimeGrid.uniform(3.0, layers))


def start(functional):
    return NETWORK.random_control(functional.controls, seed=1)


def test_the_objective_of_the_deeper_network_tends_to_that_of_the_shallower():
    base, differences = functional(4), []
    shape = start(base)
    rough = pint.Control(shape.space, shape.vector + 0.3 * random(shape.space).vector)
    for layers in (16, 32, 64):
        both = functional(layers), functional(2 * layers)
        controls = [pint.prolong(rough, one.controls) for one in both]
        differences.append(abs(both[0].value(controls[0]) - both[1].value(controls[1])))
    assert differences[0] / differences[1] == pytest.approx(2, abs=0.2)
    assert differences[1] / differences[2] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("interpolate", ["constant", "linear"])
def test_nested_training_starts_lower_than_at_random(interpolate):
    grids = [pint.TimeGrid.uniform(3.0, layers) for layers in (4, 8)]
    finest = functional(16)
    method = pint.Nested(grids, pint.ReducedSpace(iterations=15), interpolate)
    nested = pint.minimize(finest, start(functional(4)), method)
    stages = [*nested.stages, nested]
    assert [result.control.space.grid.steps for result in stages] == [4, 8, 16]
    for layers, before, after in zip((8, 16), stages, stages[1:], strict=False):
        deeper, first = functional(layers), after.history[0].objective
        control = pint.prolong(before.control, deeper.controls, interpolate)
        assert first == pytest.approx(deeper.value(control), rel=1e-12)
        assert first < 0.9 * deeper.value(start(deeper))
        assert after.objective < first


# Other meshes


def line(points):
    """Return interpolation from `points` to 2 points + 1 unknowns, zero at both ends."""
    matrix = np.zeros((2 * points + 1, points))
    rows = np.arange(points)
    matrix[2 * rows + 1, rows] = 1.0
    matrix[2 * rows, rows] = matrix[2 * rows + 2, rows] = 0.5
    return matrix


def on_mesh(steps, points):
    grid = pint.TimeGrid.uniform(2.0, steps)
    fields = {"u": pint.TimeControl(points), "start": pint.SharedControl(points)}
    return pint.ControlSpace(grid, **fields, p=pint.SharedControl(1))


@pytest.mark.parametrize("kind", [np.array, scipy.sparse.csr_matrix, None])
def test_fields_on_another_mesh(kind):
    coarse, fine, matrix = on_mesh(3, 3), on_mesh(6, 7), line(3)
    move = (lambda blocks: blocks @ matrix.T) if kind is None else kind(matrix)
    control = random(coarse)
    found = pint.prolong(control, fine, in_space={"u": move, "start": move})
    np.testing.assert_allclose(found["u"], np.repeat(control["u"], 2, axis=0) @ matrix.T)
    np.testing.assert_allclose(found["start"], matrix @ control["start"])
    np.testing.assert_array_equal(found["p"], control["p"])


@pytest.mark.parametrize(
    ("in_space", "error"),
    [
        ({}, "`in_space` takes it to another mesh"),
        ({"u": line(2), "start": line(3)}, r"\['u'\] must be a matrix with 3 columns"),
        ({"u": np.eye(3), "start": line(3)}, r"\['u'\] must make blocks of shape \(7,\)"),
        ({"v": line(3)}, "names `v`, which is no field"),
    ],
)
def test_meshes_that_do_not_fit(in_space, error):
    with pytest.raises(ValueError, match=error):
        pint.prolong(on_mesh(3, 3).zeros(), on_mesh(6, 7), in_space=in_space)


def test_states_on_another_grid_and_mesh():
    old, new = pint.TimeGrid(np.array([0, 0.5, 2.0])), pint.TimeGrid.uniform(2.0, 8)
    states = np.stack([np.full(3, t) for t in old.t])  # linear in time
    found = pint.prolong_states(states, old, new, line(3))
    np.testing.assert_allclose(found, np.asarray(new.t)[:, None] * (line(3) @ np.ones(3)))
    same = pint.prolong_states(states[:, 0], old, old)
    np.testing.assert_array_equal(same, states[:, 0])
    with pytest.raises(ValueError, match=r"`prolong_states\(states\)` must have 3 states"):
        pint.prolong_states(states[1:], old, new)
