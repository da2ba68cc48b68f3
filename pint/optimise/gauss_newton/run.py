"""A run of Gauss-Newton between two iterations, and what a checkpoint saves of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pint.comm import gather_rows, reduce
from pint.controls import Control
from pint.optimise.gauss_newton.barrier import Side
from pint.optimise.gauss_newton.iteration import Iteration
from pint.optimise.gauss_newton.memory import COUNTS, SIZES, Memory
from pint.optimise.gauss_newton.search import Filter
from pint.optimise.result import Iterate
from pint.optimise.resumable import MOST_ROWS, Compared, Layout, Resumable, largest, length_of
from pint.optimise.whole_arrays import field_shapes, gathered, scattered
from pint.reduced_functional import ReducedFunctional
from pint.report.archives import Declared

UNITS = ("infeasibility", "objective", "least", "most")
"""Numbers of the filter."""

SIDES = ("lower", "upper")


@dataclass
class Run(Resumable):
    """Changes in place.

    Attributes
    ----------
    iteration : Iteration
    start : Control
        The first control.
    history : list of Iterate
    memory : Memory
        Of the iterate of the last row: an iteration that finds no step leaves something else.
    """

    iteration: Iteration
    start: Control
    history: list[Iterate] = field(default_factory=list)
    memory: Memory = field(init=False)

    def note(self) -> None:
        """Keep the iterate as that of the last row, in place."""
        self.memory = self.iteration.memory()

    @property
    def functional(self) -> ReducedFunctional:
        return self.iteration.shooting.functional

    @property
    def is_finite(self) -> bool:
        last, units = self.history[-1], self.memory.filter
        sizes = [last.gradient_norm, last.objective, self.memory.numbers["worst"]]
        sizes += [units.infeasibility, units.objective, units.most]
        return all(map(math.isfinite, sizes))

    def solver(self) -> dict[str, np.ndarray]:
        hessian = "exact" if self.iteration.exact else "gauss-newton"
        return {"solves": np.array("GaussNewton"), "hessian": np.array(hessian)}

    def numbers(self) -> dict[str, Any]:
        if not self.history:  # what another run's are compared with has the kinds alone
            kinds = dict.fromkeys(COUNTS, 0) | dict.fromkeys(SIZES, 0.0)
            return {"numbers": {**kinds, "filter": dict.fromkeys(UNITS, 0.0)}}
        units = {name: float(getattr(self.memory.filter, name)) for name in UNITS}
        numbers: dict[str, Any] = {name: int(self.memory.numbers[name]) for name in COUNTS}
        numbers |= {name: float(self.memory.numbers[name]) for name in SIZES}
        return {"numbers": {**numbers, "filter": units}}

    def layout(self) -> Layout:
        s, functional = self.iteration.shooting, self.functional
        steps, names = functional.grid.steps, ["control", "start"]
        if functional.controls.bounded:
            names += [f"{side}_{what}" for side in SIDES for what in ("distance", "multiplier")]
        shapes = {
            f"{name}.{one}": (1, *shape)
            for name in names
            for one, shape in field_shapes(functional).items()
        }
        shapes |= {
            "y": (steps + 1, s.states),
            "lam": (steps + 1, s.states),
            "typical": (s.states + s.inputs,),
        }
        return _NewtonLayout(shapes, (steps, s.inputs, s.states))

    def arrays(self) -> dict[str, np.ndarray]:
        memory, comm, space = self.memory, self.functional.comm, self.functional.controls
        # The first row of the other ranks is a copy.
        own = slice(0 if comm.rank == 0 else 1, None)
        gains = memory.gains
        if gains is None:
            s = self.iteration.shooting
            gains = np.empty((0, s.inputs, s.states))
        arrays = {
            "y": gather_rows(comm, memory.y[own]),
            "lam": gather_rows(comm, memory.lam[own]),
            "gains": gather_rows(comm, gains),
            "typical": memory.typical,
            "filter": np.array(memory.filter.pairs, dtype=float).reshape(-1, 2),
            **gathered("control", [memory.control]),
            **gathered("start", [self.start]),
        }
        for name, side in zip(SIDES, memory.sides, strict=True) if space.bounded else ():
            distance = Control(space, np.where(side.present, side.distance, 0.0))
            arrays |= gathered(f"{name}_distance", [distance])
            arrays |= gathered(f"{name}_multiplier", [Control(space, side.multiplier)])
        return arrays

    def restore(
        self, arrays: Mapping[str, np.ndarray], numbers: dict[str, Any], history: list[Iterate]
    ) -> None:
        grid, space = self.functional.grid, self.functional.controls
        own, saved = slice(grid.first, grid.last + 1), numbers["numbers"]
        (control,) = scattered(space, "control", arrays, 1)
        (self.start,) = scattered(space, "start", arrays, 1)
        gains = arrays["gains"][grid.first : grid.last].copy() if len(arrays["gains"]) else None
        if (gains is None) != (len(history) == 1):
            raise ValueError(f"`gains` has {len(arrays['gains'])} steps after {len(history)} rows")
        _check_numbers(saved, history, space.bounded)
        inside = (space.lower <= self.start.vector) & (self.start.vector <= space.upper)
        self._require("start", inside)
        self.history = history
        self.memory = Memory(
            y=arrays["y"][own].copy(),
            lam=arrays["lam"][own].copy(),
            control=control,
            sides=self._sides(control, arrays),
            typical=arrays["typical"],
            gains=gains,
            filter=Filter(
                **{name: float(saved["filter"][name]) for name in UNITS},
                pairs=[(float(a), float(b)) for a, b in arrays["filter"]],
            ),
            numbers={name: saved[name] for name in COUNTS}
            | {name: float(saved[name]) for name in SIZES},
        )
        self.iteration.recall(self.memory)

    def _sides(self, control: Control, arrays: Mapping[str, np.ndarray]) -> tuple[Side, Side]:
        """Return both sides of a control.

        Raises
        ------
        ValueError
            On every rank, if a distance is not that of the control, or a multiplier not positive.
        """
        space, sides = self.functional.controls, []
        for name, sign, bound in zip(SIDES, (1, -1), (space.lower, space.upper), strict=True):
            side = Side(sign, bound, np.full(space.size, np.inf), np.zeros(space.size))
            if space.bounded:
                (distance,) = scattered(space, f"{name}_distance", arrays, 1)
                (multiplier,) = scattered(space, f"{name}_multiplier", arrays, 1)
                here = side.present
                apart = np.where(here, distance.vector, np.inf)
                side = replace(side, distance=apart, multiplier=multiplier.vector)
                self._require(f"{name}_multiplier", (side.multiplier > 0) == here)
                found, value, limit = apart[here], control.vector[here], bound[here]
                rounding = 1e-9 * (np.abs(value) + np.abs(limit) + found)
                fits = (found > 0) & (np.abs(found - sign * (value - limit)) <= rounding)
                self._require(f"{name}_distance", fits)
            sides.append(side)
        return sides[0], sides[1]

    def _require(self, name: str, fits: np.ndarray) -> None:
        """Raise ValueError on every rank unless all numbers of all ranks fit. Collective."""
        if not reduce(self.functional.comm, bool(fits.all()), "min")[0]:
            raise ValueError(f"`{name}` does not fit control or bounds")

    def compared(self, arrays: Mapping[str, np.ndarray]) -> list[Compared]:
        last, now, history = self.history[-1], self.iteration, self.history
        before = last.gradient_norm
        return [
            Compared("objective", last.objective, now.guess.objective,
                     largest(history, "objective")),
            Compared("KKT residual", before, now.kkt, largest(history, "gradient_norm")),
        ]  # fmt: skip


def _check_numbers(saved: Mapping[str, Any], history: list[Iterate], bounded: bool) -> None:
    """Raise ValueError if a number contradicts another one, or the history."""
    last, mu = history[-1], saved["mu"]
    fits = {
        # It begins at its unit and is lowered; without bounds there is none.
        "mu": 0 < mu <= saved["unit"] if bounded else mu == 0,
        "step": saved["step"] == last.step,
        "rejected": saved["rejected"] == last.line_search_trials,
        "since": saved["since"] <= last.iteration,
        "polished": saved["polished"] <= last.iteration,
        "evaluations": saved["evaluations"]
        >= sum(1 + row.line_search_trials for row in history[1:]),
    }
    for name, fit in fits.items():
        if not fit:
            raise ValueError(f"`{name}` is {saved[name]:.10g}, which does not fit other numbers")


@dataclass(frozen=True)
class _NewtonLayout(Layout):
    """The arrays of Gauss-Newton.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        Of the arrays whose shapes do not change.
    gains : (int, int, int)
        Shape of the gains after the first iteration; before it they have no rows.
    """

    shapes: Mapping[str, tuple[int, ...]]
    gains: tuple[int, int, int]

    def wanted(self, declared: Mapping[str, Declared]) -> dict[str, tuple[Declared, ...]]:
        real, pairs = np.dtype(float), length_of("filter", declared, MOST_ROWS, 2)
        steps, inputs, states = self.gains
        return {
            **{name: (Declared(real, shape),) for name, shape in self.shapes.items()},
            "filter": (Declared(real, (pairs, 2)),),
            "gains": (Declared(real, (0, inputs, states)), Declared(real, (steps, inputs, states))),
        }

    def check(self, arrays: Mapping[str, np.ndarray]) -> None:
        least = arrays["typical"].min(initial=np.inf)
        if least <= 0:
            raise ValueError(f"`typical` must be positive, got {least:.10g}")
