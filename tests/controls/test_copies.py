"""Controls are values: copies, pickles, arrays of a caller, names of fields, bounds in time."""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest

import pint


def space(**more):
    grid = pint.TimeGrid.uniform(1.0, 4, coarsening=2, levels=2)
    return pint.ControlSpace(grid, u=pint.TimeControl(2), p=pint.SharedControl(3), **more)


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled, pint.Control.copy])
def test_a_copy_of_a_control_has_numbers_of_its_own(duplicate):
    control = space().control(u=1.0, p=2.0)
    assert control.time and control.shared  # the views exist before the copy is made
    again = duplicate(control)
    again["u"][...] = 5.0
    again.shared["p"][...] = 6.0
    np.testing.assert_array_equal(again.vector, [5.0] * 8 + [6.0] * 3)
    np.testing.assert_array_equal(again.time["u"], again["u"])
    np.testing.assert_array_equal(control.vector, [1.0] * 8 + [2.0] * 3)
    assert (again + control)["u"][0, 0] == 6.0


def test_a_space_is_not_copied_but_pickled():
    one = space()
    assert copy.deepcopy(one) is one is copy.copy(one)
    again = pickled(one)
    assert again.inner(again.control(u=1.0), again.control(u=1.0)) == pytest.approx(2.0)


def test_controls_are_compared_by_identity():
    control = space().zeros()
    assert control == control
    assert control != control.copy()
    assert len({control, control}) == 1


@pytest.mark.parametrize(
    "other", [np.ones(11), [1.0], "x", 1j, None, np.array(1j), np.array(2, object), np.array(True)]
)
def test_a_control_is_multiplied_by_real_numbers_only(other):
    control = space().zeros()
    for product in (lambda: control * other, lambda: other * control):
        with pytest.raises(TypeError):
            product()
    for two in (2, 2.0, np.float64(2.0), np.array(2), Fraction(2)):
        product = two * space().control(p=1.0)
        assert product.vector.dtype == float
        np.testing.assert_array_equal(product["p"], 2.0)


def test_a_field_that_a_control_does_not_have():
    with pytest.raises(KeyError, match=r"no field 'v'; it has \['u', 'p'\]"):
        space().zeros()["v"]


def test_bounds_and_values_are_copied():
    lower, values = np.zeros(2), np.ones((4, 2))
    grid = pint.TimeGrid.uniform(1.0, 4)
    field = pint.TimeControl(2, lower=lower)
    one = pint.ControlSpace(grid, u=field)
    control = one.control(u=values)
    lower[:], values[:] = 7.0, 8.0
    np.testing.assert_array_equal(field.lower, 0.0)
    np.testing.assert_array_equal(pint.ControlSpace(grid, u=field).lower, 0.0)
    np.testing.assert_array_equal(control["u"], 1.0)
    with pytest.raises(ValueError, match="read-only"):
        field.lower[0] = 1.0


@pytest.mark.parametrize(
    "name", ["a.npy", "", "a/b", "a b", "../a", "file", "allow_pickle", "a\0b", "1", "a{b}"]
)
def test_names_that_are_no_names_of_fields(name):
    grid = pint.TimeGrid.uniform(1.0, 4)
    with pytest.raises(ValueError, match=r"ControlSpace.*field cannot be called"):
        pint.ControlSpace(grid, **{name: pint.TimeControl(1)})


def test_names_of_fields_that_look_alike_are_kept_apart(tmp_path):
    grid = pint.TimeGrid.uniform(1.0, 2)
    names = ["a", "A", "a.b", "self", "layer.weight", "größe"]
    one = pint.ControlSpace(grid, **{name: pint.SharedControl(1) for name in names})
    values = {name: [float(place)] for place, name in enumerate(names)}
    one.control(**values).save(tmp_path / "control.npz")
    loaded = one.load(tmp_path / "control.npz")
    assert {name: loaded[name].tolist() for name in names} == values


# Bounds that vary in time


def test_bounds_of_all_steps():
    lower = np.arange(8.0).reshape(4, 2)
    field = pint.TimeControl(2, lower=lower, upper=100.0)
    one = pint.ControlSpace(pint.TimeGrid.uniform(1.0, 4), u=field, p=pint.SharedControl(1))
    np.testing.assert_array_equal(one.project(one.zeros())["u"], lower)
    np.testing.assert_array_equal(one.project(one.control(u=50.0))["u"], 50.0)


def test_bounds_of_numbers_in_time():
    field = pint.TimeControl((), upper=[1.0, 2.0, 3.0])
    one = pint.ControlSpace(pint.TimeGrid.uniform(1.0, 3), u=field)
    np.testing.assert_array_equal(one.project(one.control(u=9.0))["u"], [1.0, 2.0, 3.0])


def test_bounds_of_coefficients_are_the_narrowest_of_their_steps():
    field = pint.TimeControl((), [0, 1, 2, 0, 0], [5, 4, 9, 8, 7], every=2)
    one = pint.ControlSpace(pint.TimeGrid.uniform(1.0, 5), u=field)
    np.testing.assert_array_equal(one.project(one.zeros())["u"], [1, 1, 2, 2, 0])
    np.testing.assert_array_equal(one.project(one.control(u=9.0))["u"], [4, 4, 8, 8, 7])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pint.TimeControl((), [0, 2, 0, 0], [1, 3, 1, 1], every=2), "all 2 steps"),
        (lambda: pint.TimeControl(1, np.zeros((4, 1)), np.ones((5, 1))), "4 and of 5 steps"),
        (lambda: space(v=pint.TimeControl(1, lower=np.zeros((3, 1)))), "of `v`.*3 steps.*N = 4"),
        (lambda: pint.TimeControl(1, weight=np.ones(4)), r"weight=.*ndarray"),
        (lambda: pint.TimeControl(1, lower=np.inf), r"lower=.*inf"),
        (lambda: pint.TimeControl(1, lower=0, every=2, interpolate="linear"), "hat functions"),
    ],
)
def test_bounds_and_weights_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()


MASKED = np.ma.masked_array([0.0, 1.0], [True, False])


@pytest.mark.parametrize(
    "value", [1j, "1", np.datetime64("2026-01-01"), [True], None, [[1], 2], MASKED]
)
def test_numbers_that_are_not_real(value):
    for name, make in {
        "lower=": lambda: pint.TimeControl(1, lower=value if value is not None else object()),
        "t=": lambda: pint.TimeGrid([value, 1.0]),
        "u=": lambda: space().control(u=value),
    }.items():
        with pytest.raises(TypeError, match=f"{name}.*real numbers"):
            make()
