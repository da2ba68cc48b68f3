"""Fifteen classical control problems with bounds, and their optima by an independent program.

`ode_catalogue.json` defines them, as expressions: right-hand side, cost, bounds and the control to
start from. Its minima belong to the classical Runge-Kutta method of order four with the given
number of equal steps, a control that is constant over each step, and the trapezoid rule for the
running cost. They were computed by multiple shooting with an interior-point method; where a problem
has several local minima, all that are known are listed, and a local method may end at any of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pint
from pint.steppers import SCHEMES


@dataclass(frozen=True)
class CatalogueProblem:
    """A problem of the catalogue; `problem` and `start` evaluate them by sympy.

    Attributes
    ----------
    definition : str
        The problem in words and formulas.
    states : tuple of str
    rhs : tuple of str
        The derivative of each state.
    running_cost, terminal_cost : str
    initial_state : tuple of float
    final_time : float
    steps : int
        Of the grid that the minima belong to.
    time : str or None
        The symbol of time, where an expression has it.
    controls : mapping
        By field: its ``symbols``, and ``lower`` and ``upper`` bound or None.
    first : mapping of str to tuple of str
        The control to start from, by field: an expression in t for each symbol.
    minima : tuple of float
        Objectives of the local minima, least first.
    """

    definition: str
    states: tuple[str, ...]
    rhs: tuple[str, ...]
    running_cost: str
    terminal_cost: str
    initial_state: tuple[float, ...]
    final_time: float
    steps: int
    time: str | None
    controls: Mapping[str, Mapping[str, Any]]
    first: Mapping[str, tuple[str, ...]]
    minima: tuple[float, ...]

    schemes: ClassVar[Mapping[str, str]] = dict.fromkeys(SCHEMES, "trapezoid")

    @property
    def T(self) -> float:  # noqa: N802  (as the problems of `problems.ode` have it)
        """The final time."""
        return self.final_time

    def parameters(self) -> dict[str, float]:
        """Return the parameters by name: there are none."""
        return {}

    def problem(
        self,
        scheme: str | None = None,
        lower: float | None = None,
        upper: float | None = None,
        *,
        coarse: Any = None,
        backend: Literal["numpy", "compiled", "auto"] = "numpy",
        steps: int | None = None,
    ) -> pint.Problem:
        """Return the problem.

        Parameters
        ----------
        scheme : str, optional
            One of `pint.steppers.scheme`, by default that of the minima, ``"rk4"``.
        lower, upper : float, optional
            Bounds of all controls, instead of the problem's own.
        coarse, backend, steps
            As in `pint.steppers.symbolic.SympyODE.problem`.
        """
        import sympy  # here, because the names of the problems do not need it

        from pint.steppers.symbolic import SympyODE

        names = [*self.states, *([self.time] if self.time else [])]
        names += [name for field in self.controls.values() for name in field["symbols"]]
        symbols = {name: sympy.Symbol(name, real=True) for name in names}
        # The texts are those of the file beside this one; nobody else's are evaluated.
        texts = (*self.rhs, self.running_cost, self.terminal_cost)
        *rhs, running_cost, terminal_cost = (sympy.sympify(text, symbols) for text in texts)
        ode = SympyODE(
            [symbols[name] for name in self.states],
            rhs,
            {name: [symbols[s] for s in field["symbols"]] for name, field in self.controls.items()},
            running_cost=running_cost,
            terminal_cost=terminal_cost,
            initial_state=self.initial_state,
            time=symbols[self.time] if self.time else None,
        )
        bounds = {
            name: (
                field["lower"] if lower is None else lower,
                field["upper"] if upper is None else upper,
            )
            for name, field in self.controls.items()
        }
        return ode.problem(
            scheme or "rk4", controls=bounds, coarse=coarse, backend=backend, steps=steps
        )

    def start(self, controls: pint.ControlSpace) -> pint.Control:
        """Return the control to start from, at the times where steps begin."""
        import sympy

        grid, start = controls.grid, controls.zeros()
        t = grid.t[grid.first : grid.last]
        for name, texts in self.first.items():
            for column, text in enumerate(texts):
                function = sympy.lambdify(sympy.Symbol("t"), sympy.sympify(text))
                start[name][:, column] = function(t)
        return start


_FOUND = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

CATALOGUE: Mapping[str, CatalogueProblem] = {
    name: CatalogueProblem(**values) for name, values in _FOUND.items()
}
"""The problems by name."""
