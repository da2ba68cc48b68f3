"""Functions from generated code, and what that code calls besides numpy and scipy."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special


class Generated:
    """A function from the text of its code, with which it is pickled.

    Parameters
    ----------
    code : str
        That defines ``function``.
    modules : sequence of str
        That the code uses, by their full names.

    Attributes
    ----------
    function : callable
        To be called as it is: another call around it would take a percent of a step.
    """

    def __init__(self, code: str, modules: Sequence[str]) -> None:
        self.code, self.modules = code, tuple(modules)
        names: dict[str, Any] = {"numpy": np, "absolute": absolute, "lambert": lambert}
        for name in self.modules:
            top = name.partition(".")[0]
            importlib.import_module(name)
            names[top] = importlib.import_module(top)
        exec(code, names)
        self.function = names["function"]

    def __reduce__(self) -> Any:
        return Generated, (self.code, self.modules)


class Later:
    """A generated function that is made when it is first called for.

    Parameters
    ----------
    make : callable
        Returns the `Generated`.
    """

    def __init__(self, make: Callable[[], Generated]) -> None:
        self._make = make

    @cached_property
    def function(self) -> Any:
        """The function; an attribute from then on."""
        return self._made.function

    @cached_property
    def _made(self) -> Generated:
        return self._make()

    def __reduce__(self) -> Any:
        return self._made.__reduce__()


def lambert(x: Any, branch: Any) -> Any:
    """Return Lambert's W of a real number, NaN where it is complex."""
    value = special.lambertw(x, branch)
    return value if np.iscomplexobj(x) else np.where(value.imag == 0, value.real, np.nan)


def absolute(x: Any) -> Any:
    """Return |x| of a real number, whose imaginary part carries a derivative by the complex step.

    The modulus, numpy's meaning, would drop that derivative.
    """
    if np.iscomplexobj(x):
        return np.where(np.real(x) < 0, -x, x)
    return np.abs(x)
