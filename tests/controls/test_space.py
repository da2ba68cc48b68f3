"""Control spaces: metric, bounds, restriction to coarse levels, files, errors."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry import random_control

import pint

GRID = pint.TimeGrid([0.0, 0.5, 0.7, 1.7, 2.0])


def a_space(grid=GRID, **options):
    """Return a space with a matrix and a vector in time, and shared parameters."""
    return pint.ControlSpace(
        grid,
        first=pint.SharedControl((2, 2), lower=-1.0),
        force=pint.TimeControl((2, 3), **options),
        bias=pint.TimeControl(2, metric="euclidean", upper=[1.0, 0.5]),
        mass=pint.SharedControl(1, lower=0.1, upper=0.4),
    )


# Values


def test_fields_are_views_of_one_vector():
    space = a_space()
    control = space.control(force=2.0, bias=[1.0, 2.0], mass=3.0)
    assert {name: control[name].shape for name in space.fields} == {
        "first": (2, 2),
        "force": (4, 2, 3),
        "bias": (4, 2),
        "mass": (1,),
    }
    assert set(control.time) == {"force", "bias"}
    assert set(control.shared) == {"first", "mass"}
    assert (control["force"] == 2.0).all()
    assert (control["bias"] == [1.0, 2.0]).all()
    assert not control["first"].any()
    control["bias"][2, 1] = 7.0
    assert control.time["bias"][2, 1] == 7.0
    assert np.count_nonzero(control.vector == 7.0) == 1
    assert control.vector.shape == (space.size,) == (4 + 24 + 8 + 1,)


def test_blocks_of_all_steps():
    values = np.arange(24.0).reshape(4, 2, 3)
    np.testing.assert_array_equal(a_space().control(force=values)["force"], values)


def test_arithmetic_returns_new_controls():
    space = a_space()
    a, b = random_control(space, 1), random_control(space, 2)
    before = a.vector.copy()
    np.testing.assert_array_equal((a + b).vector, a.vector + b.vector)
    np.testing.assert_array_equal((a - b).vector, a.vector - b.vector)
    np.testing.assert_array_equal((2.0 * a).vector, 2.0 * a.vector)
    np.testing.assert_array_equal((a * 2.0).vector, 2.0 * a.vector)
    np.testing.assert_array_equal((-a).vector, -a.vector)
    np.testing.assert_array_equal(a.vector, before)


# Metric


def test_inner_product_is_the_sum_of_its_definition():
    space = a_space()
    a, b = random_control(space, 1), random_control(space, 2)
    expected = sum(GRID.dt[n] * (a["force"][n] * b["force"][n]).sum() for n in range(4))
    expected += (a["bias"] * b["bias"]).sum()
    expected += (a["first"] * b["first"]).sum() + (a["mass"] * b["mass"]).sum()
    assert space.inner(a, b) == pytest.approx(expected, rel=1e-14)
    assert space.norm(a) == pytest.approx(space.inner(a, a) ** 0.5, rel=1e-15)


def test_riesz_and_dual():
    """``inner(riesz(d), v) = pair(d, v)`` and ``dual = riesz^-1``."""
    space = a_space()
    derivative, direction = random_control(space, 1), random_control(space, 2)
    gradient = space.riesz(derivative)
    pairing = derivative.vector @ direction.vector
    assert space.pair(derivative, direction) == pytest.approx(pairing, rel=1e-14)
    assert space.inner(gradient, direction) == pytest.approx(pairing, rel=1e-14)
    np.testing.assert_allclose(space.dual(gradient).vector, derivative.vector, rtol=1e-15)


def test_the_time_metric_does_not_depend_on_the_number_of_steps():
    norms = []
    for steps in (3, 48):
        grid = pint.TimeGrid.uniform(2.0, steps)
        space = pint.ControlSpace(grid, u=pint.TimeControl(2))
        norms.append(space.norm(space.control(u=[3.0, 4.0])))
    assert norms == pytest.approx([50**0.5, 50**0.5], rel=1e-14)


# Bounds


def test_projection_clips_each_field_to_its_bounds():
    space = a_space()
    control = random_control(space, 3, deviation=3.0)
    projected = space.project(control)
    np.testing.assert_array_equal(projected["force"], control["force"])
    np.testing.assert_array_equal(projected["first"], np.maximum(control["first"], -1.0))
    np.testing.assert_array_equal(projected["bias"], np.minimum(control["bias"], [1.0, 0.5]))
    np.testing.assert_array_equal(projected["mass"], np.clip(control["mass"], 0.1, 0.4))
    np.testing.assert_array_equal(space.project(projected).vector, projected.vector)
    assert space.bounded


def test_without_bounds_projection_is_the_identity():
    space = pint.ControlSpace(GRID, u=pint.TimeControl(2, lower=-np.inf))
    control = random_control(space)
    assert not space.bounded
    np.testing.assert_array_equal(space.project(control).vector, control.vector)


# Restriction


@st.composite
def grids(draw):
    steps, levels = draw(st.integers(9, 40)), draw(st.integers(1, 3))
    factors = draw(st.lists(st.integers(2, 3), min_size=levels, max_size=levels))[1:]
    sizes = draw(st.lists(st.floats(0.1, 2.0), min_size=steps, max_size=steps))
    return pint.TimeGrid(np.cumsum([-1.0, *sizes]), factors or 2, levels)


def largest_step(blocks, dt):
    """Take the block of the longest step."""
    assert len(blocks) == len(dt)
    return blocks[np.argmax(dt)]


@pytest.mark.parametrize("wrong", [lambda blocks, dt: blocks, lambda blocks, dt: 0.0])
def test_restriction_to_a_wrong_shape_is_an_error_that_names_the_field(wrong):
    grid = pint.TimeGrid.uniform(1.0, 8, levels=2)
    space = pint.ControlSpace(grid, force=pint.TimeControl(3, restrict=wrong))
    with pytest.raises(ValueError, match=r"restrict=.*`force`.*\(3,\), got"):
        space.restrict(space.zeros())


@given(grids(), st.booleans())
def test_restriction_against_a_plain_loop(grid, reverse):
    """Row j of level l: the interval of the j-th step of the level, in the order of time."""
    space = pint.ControlSpace(
        grid,
        injected=pint.TimeControl((2, 3)),
        mean=pint.TimeControl(2, restrict="mean"),
        largest=pint.TimeControl(3, restrict=largest_step),
        shared=pint.SharedControl(2),
    )
    control = random_control(space)
    restricted = space.restrict(control, reverse)
    assert len(restricted) == grid.levels
    dt = np.diff(grid.t)
    for stride, blocks in zip(grid.strides, restricted, strict=True):
        assert set(blocks) == {"injected", "mean", "largest"}
        count = grid.steps // stride
        assert len(blocks["mean"]) == len(blocks["injected"]) == count
        for j in range(count):
            start = grid.steps - (count - j) * stride if reverse else j * stride
            covered = range(start, start + stride)
            mean = sum(dt[n] * control["mean"][n] for n in covered) / sum(dt[n] for n in covered)
            np.testing.assert_array_equal(blocks["injected"][j], control["injected"][start])
            np.testing.assert_allclose(blocks["mean"][j], mean, rtol=0, atol=1e-14)
            longest = max(covered, key=lambda n: dt[n])
            np.testing.assert_array_equal(blocks["largest"][j], control["largest"][longest])


# Files


def test_saved_controls_are_loaded_as_they_were(tmp_path):
    space = a_space()
    control = random_control(space)
    gathered = control.gather()
    assert list(gathered) == list(space.fields)
    control.save(tmp_path / "control.npz")
    loaded = space.load(tmp_path / "control.npz")
    np.testing.assert_array_equal(loaded.vector, control.vector)
    for name, values in gathered.items():
        np.testing.assert_array_equal(values, control[name])
        assert not np.shares_memory(values, control.vector)


def write(path, kind):
    """Write a file that is no control of `a_space()`."""
    control = random_control(a_space())
    if kind == "garbage":
        path.write_bytes(b"no archive at all")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        control.save(path)
        path.write_bytes(path.read_bytes()[:400])
    elif kind == "flipped":
        control.save(path)
        content = bytearray(path.read_bytes())
        content[200] ^= 255
        path.write_bytes(content)
    elif kind == "one array":
        with path.open("wb") as file:
            np.save(file, control.vector)
    elif kind == "objects":
        np.savez(path, **{name: np.array([None]) for name in control.space.fields})
    else:
        values = control.gather()
        values.update(
            {
                "a field more": {"other": np.zeros(2)},
                "other steps": {"force": np.zeros((5, 2, 3))},
                "NaN": {"mass": np.array([np.nan])},
                "words": {"mass": np.array(["heavy"])},
            }[kind]
        )
        np.savez(path, **values)


@pytest.mark.parametrize(
    "kind",
    [
        "garbage",
        "empty",
        "truncated",
        "flipped",
        "one array",
        "objects",
        "a field more",
        "other steps",
        "NaN",
        "words",
    ],
)
def test_a_file_that_is_no_control_is_an_error_that_names_it(tmp_path, kind):
    path = tmp_path / "control.npz"
    write(path, kind)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        a_space().load(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        a_space().load(tmp_path / "missing.npz")
    with pytest.raises(FileNotFoundError, match="missing"):
        a_space().zeros().save(tmp_path / "missing" / "control.npz")


# Errors


@pytest.mark.parametrize("kind", [pint.TimeControl, pint.SharedControl])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(shape=0), "shape="),
        (dict(shape=(2, -1)), "shape="),
        (dict(shape=2, lower=[0.0, 2.0], upper=1.0), "lower bound exceeds"),
        (dict(shape=2, lower=np.nan), r"lower=.*NaN"),
        (dict(shape=2, upper=[0.0, np.nan]), r"upper=.*NaN"),
        (dict(shape=2, lower=[0.0] * 3), r"lower=.*\(3,\).*\(2,\)"),
        (dict(shape=2, upper=np.zeros((5, 3, 2))), r"upper=.*\(5, 3, 2\).*\(2,\)"),
    ],
)
def test_errors_of_fields_name_the_class_and_the_argument(kind, arguments, message):
    with pytest.raises(ValueError, match=f"{kind.kind}.*{message}"):
        kind(**arguments)


@pytest.mark.parametrize("name", ["metric", "restrict"])
def test_unknown_choices(name):
    with pytest.raises(ValueError, match=f"{name}=.*'other'"):
        pint.TimeControl(2, **{name: "other"})


def test_a_field_must_be_a_field():
    with pytest.raises(TypeError, match=r"force=.*TimeControl.*int"):
        pint.ControlSpace(GRID, force=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(other=1.0), "`other`.*'first', 'force', 'bias', 'mass'"),
        (dict(bias=np.zeros(3)), r"`bias`.*\(4, 2\).*\(3,\)"),
        (dict(bias=np.zeros((5, 2))), r"`bias`.*\(4, 2\).*\(5, 2\)"),
        (dict(mass=np.zeros((4, 1))), r"`mass`.*\(1,\).*\(4, 1\)"),
        (dict(force=np.nan), "`force`.*NaN"),
        (dict(mass=[np.inf]), "`mass`.*infinity"),
    ],
)
def test_errors_of_values_name_the_field(values, message):
    with pytest.raises(ValueError, match=message):
        a_space().control(**values)
