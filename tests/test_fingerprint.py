"""Fingerprints: the same for the same content, others for any other."""

import functools
from dataclasses import dataclass, field

import numpy as np
import pytest

import pint
from pint.comm import fingerprint, fingerprints


@dataclass(frozen=True)
class Part:
    size: float = 1.0
    _hidden: float = 2.0
    values: np.ndarray = field(default_factory=lambda: np.arange(3.0))


class Own:
    may_differ = ("rank",)

    def __init__(self, rank=0, text="a", inner=None):
        self.rank, self.text, self.inner, self._cache = rank, text, inner, object()
        self.itself = self


class Slotted:
    __slots__ = ("number", "unset")

    def __init__(self, number):
        self.number = number


ARRAY = np.arange(200_000.0)
DIFFERENT = {
    "number": (1.0, np.nextafter(1.0, 2.0)),
    "sign of zero": (0.0, -0.0),
    "type": (1, 1.0),
    "text": ("a", "b"),
    "none": (None, 0),
    "shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "dtype": (np.zeros(2), np.zeros(2, dtype=np.float32)),
    "one entry of a large array": (ARRAY, np.where(ARRAY == 150_001, 0.0, ARRAY)),
    "two entries that change places": (ARRAY, np.r_[ARRAY[1], ARRAY[0], ARRAY[2:]]),
    "the last entry": (ARRAY, np.r_[ARRAY[:-1], 1.0]),
    "field": (Part(), Part(2.0)),
    "array of a field": (Part(), Part(values=np.ones(3))),
    "attribute": (Own(), Own(text="b")),
    "attribute of an attribute": (Own(inner=Part()), Own(inner=Part(3.0))),
    "attribute in a slot": (Slotted(1.0), Slotted(2.0)),
    "method": (pint.OneShot(2), pint.OneShot(3)),
    "kind of method": (pint.OneShot(1), pint.Lagged(1)),
    "seed": (np.random.default_rng(0), np.random.default_rng(1)),
    "key": ({"a": 1}, {"b": 1}),
    "order": ([1, 2], [2, 1]),
}


def test_a_program_that_becomes_a_module():
    def defined_in(module):
        class Moved:
            def __init__(self, size):
                self.size, self.kind, self.call = size, Moved, defined_in

        Moved.__module__ = module
        return Moved

    first, other = (defined_in(name) for name in ("__main__", "my_problem"))
    assert fingerprint(first(1.0)) == fingerprint(other(1.0)) != fingerprint(other(2.0))


@pytest.mark.parametrize("name", DIFFERENT)
def test_other_content_has_another_fingerprint(name):
    one, other = DIFFERENT[name]
    assert fingerprint(one) != fingerprint(other)
    assert 0 <= fingerprint(one) < 2**52


def test_same_content_has_the_same_fingerprint():
    assert fingerprint(ARRAY) == fingerprint(ARRAY.copy()) == fingerprint(ARRAY.repeat(2)[::2])
    assert fingerprint(Own(0)) == fingerprint(Own(1))  # `may_differ`
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(np.int64(3)) == fingerprint(3)


def test_parts_are_named():
    parts = fingerprints({"stepper": Own(inner=Part()), "levels": 2}, "problem")
    assert {"problem.stepper.inner.size", "problem.stepper.text", "problem.levels"} <= set(parts)
    changed = fingerprints({"stepper": Own(inner=Part(5.0)), "levels": 2}, "problem")
    assert [name for name in parts if parts[name] != changed[name]] == [
        "problem.stepper.inner.size"
    ]


def test_functions_that_a_compiler_has_wrapped_count_by_their_names():
    class Compiled:
        """As those of numba: other attributes than usual, and no AttributeError without one."""

        def __init__(self, function):
            functools.update_wrapper(self, function)

        def __getattr__(self, name):
            raise KeyError(name)

        def __call__(self):
            return self.__wrapped__()

    def one():
        return 1

    def two():
        return 2

    assert fingerprint({"f": Compiled(one)}) == fingerprint({"f": Compiled(one)})
    assert fingerprint({"f": Compiled(one)}) != fingerprint({"f": Compiled(two)})
    assert list(fingerprints(Compiled(one), "f")) == ["f"]
