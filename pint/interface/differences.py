"""The transposes of a time step by numerical differentiation, where a user writes none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pint.grid import Steps
from pint.interface.adjoint import Adjoint
from pint.interface.fields import Fields
from pint.interface.stepper import TimeStepper
from pint.states.slopes import central_slope, complex_slope, is_analytic


class DifferenceAdjoint(Adjoint):
    """The transposes of a stepper by differentiating its step numerically: for trying out.

    Each entry of the state, of the control block and of the shared fields costs a step for each
    `vjp`: by a complex step of 1e-30, exact to rounding, where the step accepts complex numbers;
    else by central differences, with errors of about 1e-9. The first call finds out which, for
    the state and for each field. Write the transposes, or let SymPy derive them
    (`pint.steppers.symbolic.SympyODE`), once the problem works.

    Parameters
    ----------
    stepper : TimeStepper
        With states that are numpy arrays.
    """

    def __init__(self, stepper: TimeStepper) -> None:
        self.stepper = stepper
        self._is_analytic: dict[tuple[str, str], bool] = {}

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        if not isinstance(y, (np.ndarray, np.generic, float)):
            raise TypeError(
                f"`Problem(adjoint=None)` needs states that are numpy arrays, got "
                f"{type(y).__name__}: write an Adjoint for them."
            )
        s, lead = s._replace(kept=None), 1 if self.stepper.batched else 0
        at: dict[tuple[str, str], Any] = {("y", ""): y}
        at |= {("u", name): block for name, block in u.items()}
        at |= {("theta", name): block for name, block in theta.items()}

        def step(at: Mapping[tuple[str, str], Any]) -> Any:
            blocks = {name: at["u", name] for name in u}
            return self.stepper.step(
                s, at["y", ""], blocks, {name: at["theta", name] for name in theta}
            )

        return (
            self._products(step, at, ("y", ""), lam, lead),
            {name: self._products(step, at, ("u", name), lam, lead) for name in u},
            {name: self._products(step, at, ("theta", name), lam) for name in theta},
        )

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        at = {("initial", name): block for name, block in theta.items()}

        def initial(at: Mapping[tuple[str, str], Any]) -> Any:
            return self.stepper.initial({name: at["initial", name] for name in theta})

        return {name: self._products(initial, at, ("initial", name), lam0) for name in theta}

    def coarsen(self, level: int) -> Adjoint:
        return DifferenceAdjoint(self.stepper.coarsen(level))

    def _products(
        self, function: Any, at: Mapping[tuple[str, str], Any], key: Any, lam: Any, lead: int = 0
    ) -> np.ndarray:
        """Return ``<lam, derivative>`` for each entry of an argument.

        Its first `lead` axes, 0 or 1, are the steps of a batch, which do not depend on each other.
        """
        if key not in self._is_analytic:
            self._is_analytic[key] = is_analytic(function, at, key)
        result = np.empty(np.shape(at[key]))
        for place in np.ndindex(result.shape[lead:]):
            direction = np.zeros(result.shape)
            direction[(..., *place)] = 1.0
            slope = None
            if self._is_analytic[key]:
                slope = complex_slope(function, at, key, direction)
            if slope is None:
                slope = central_slope(function, at, key, direction)
            result[(..., *place)] = (lam * slope).sum(axis=tuple(range(lead, np.ndim(lam))))
        return result
