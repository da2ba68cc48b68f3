"""A run of a descent method between two updates, and what a checkpoint saves of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.controls import Control
from pint.equations import Relax
from pint.optimise.lbfgs import MOST_PAIRS, InverseHessian
from pint.optimise.point import Point
from pint.optimise.result import Iterate
from pint.optimise.resumable import MOST_ROWS, Compared, Layout, Resumable, largest, length_of
from pint.optimise.safeguard import Safeguard
from pint.optimise.whole_arrays import (
    field_shapes,
    gathered,
    own_rows,
    scattered,
    whole_rows,
    whole_shape,
)
from pint.reduced_functional import ReducedFunctional
from pint.report.archives import Declared


@dataclass
class Run(Resumable):
    """Everything that the next updates depend on. Changes in place.

    Attributes
    ----------
    point : Point
    strategy : Safeguard
    hessian : InverseHessian
    step : float
        Of the last update; before the first one that of its first trial.
    slope : float
        Of the objective along the last update's direction, where it began; 0 before the first one.
    rejected : int
        Trials of the last update besides the one that it ended with.
    history : list of Iterate
    evaluations : int
        Objectives evaluated so far.
    best : tuple of float and Control, or None
        The least objective since the run began or was resumed, and its control.
    cause : str
        Why the run met NaN or infinity, where that has ended it.
    """

    point: Point
    strategy: Safeguard
    hessian: InverseHessian
    step: float = 1.0
    slope: float = 0.0
    rejected: int = 0
    history: list[Iterate] = field(default_factory=list)
    evaluations: int = 0
    best: tuple[float, Control] | None = None
    cause: str = ""

    def note_best(self) -> None:
        """Keep the control of the least objective, its error included, in place."""
        row = self.history[-1]
        bound = row.objective + (0.0 if math.isnan(row.objective_error) else row.objective_error)
        if self.best is None or not self.best[0] <= bound:
            self.best = bound, self.point.control

    def rivals(self, start: Control, objective: float) -> list[Control]:
        """Return the controls whose exact objectives may be less than an exact `objective`."""
        first, rivals = self.history[0], []
        # An exact start that is no better need not be solved again.
        if self.history[-1].iteration and not (
            first.objective_error == 0 and objective <= first.objective
        ):
            rivals.append(start)
        if self.best is not None and self.best[1] is not self.point.control:
            if not objective <= self.best[0]:
                rivals.append(self.best[1])
        return rivals

    # Checkpoints

    @property
    def functional(self) -> ReducedFunctional:
        return self.point.functional

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.history[-1].gradient_norm)

    def solver(self) -> dict[str, np.ndarray]:
        # The number that fits depends on the number of ranks.
        memory = "by size" if self.hessian.by_size else self.hessian.memory
        inner, rank = self.strategy.inner, self.functional.state.rank
        solves = type(inner).__name__
        if inner.lagged and rank is not None:  # what they continue depends on it
            solves += f", coarse steps corrected with rank {rank}"
        return {
            "solves": np.array(solves),
            "hessian": np.array(f"memory {memory}, rescaled {self.hessian.rescaled}"),
        }

    def numbers(self) -> dict[str, Any]:
        numbers = {
            "step": self.step,
            "slope": self.slope,
            "rejected": self.rejected,
            "strategy": self.strategy.state_dict(),
            "point": self.point.state_dict(),
        }
        return {"numbers": numbers, "scaling": self.hessian.scaling}

    def layout(self) -> Layout:
        functional, hessian, starts = self.functional, self.hessian, {}
        shape, grid = whole_shape(functional), functional.grid
        for name, block in self._c_points().items():
            rows = (grid.steps // grid.coarsening[0], *shape)
            starts[name] = Declared(functional.space.as_array(block).dtype, rows)
        memory = MOST_PAIRS if hessian.by_size else hessian.memory
        most = MOST_ROWS if memory is None else memory
        return _DescentLayout(field_shapes(functional), starts, most)

    def arrays(self) -> dict[str, np.ndarray]:
        pairs = self.hessian.pairs
        arrays = {
            # Saved, because sums of another order would differ in the last bits.
            "products": self.hessian.products,
            "trajectory": self._trajectory_norm(),
            **gathered("control", [self.point.control]),
            **gathered("s", [s for s, _ in pairs]),
            **gathered("y", [y for _, y in pairs]),
        }
        for name, block in self._c_points().items():
            arrays[name] = whole_rows(self.functional, block)
        return arrays

    def restore(
        self, arrays: Mapping[str, np.ndarray], numbers: dict[str, Any], history: list[Iterate]
    ) -> None:
        functional, point, space = self.functional, self.point, self.functional.controls
        count = len(arrays["products"][0])
        pairs = zip(*(scattered(space, name, arrays, count) for name in "sy"), strict=True)
        self.hessian = replace(
            self.hessian,
            pairs=tuple(pairs),
            products=arrays["products"],
            scaling=float(numbers["scaling"]),
        )
        _check_products(self.hessian)
        self.history = history
        for name, block in self._c_points().items():
            rows = own_rows(functional, arrays[name], len(block))
            block[...] = functional.space.lift(rows)
        # With their C-points in place, the trajectories count as solved before.
        (point.state.control,) = scattered(space, "control", arrays, 1)
        functional.state.solve(point.state, point.state.control, Relax())
        if self.strategy.inner.lagged:
            functional.state.correct(point.state)
        point.adjoint.solution = point.state.solution
        functional.adjoint.solve(point.adjoint, point.state, Relax())
        # Last, because the solves have set some of them
        self._load(numbers["numbers"])
        point.form_gradient()
        point.evaluate()

    def _load(self, values: dict[str, Any]) -> None:
        """Restore the part `numbers` of what `numbers` returned, in place."""
        self.step, self.slope = float(values["step"]), float(values["slope"])
        self.rejected = int(values["rejected"])
        self.strategy.load_state_dict(values["strategy"])
        self.point.load_state_dict(values["point"])

    def compared(self, arrays: Mapping[str, np.ndarray]) -> list[Compared]:
        last, point, history = self.history[-1], self.point, self.history
        objective = point.value.objective
        gradient_norm = point.gradient_norm()
        pairs = [
            Compared("objective", last.objective, objective, largest(history, "objective")),
            Compared(
                "gradient norm",
                last.gradient_norm,
                gradient_norm,
                largest(history, "gradient_norm"),
            ),
        ]
        for before, now in zip(arrays["trajectory"], self._trajectory_norm(), strict=False):
            pairs.append(Compared("norm of the states", float(before), float(now), 0.0))
        return pairs

    def _trajectory_norm(self) -> np.ndarray:
        """Return the norm of the states at all points, an array of shape (1,). Collective.

        F-points are one step, or a few, from the C-points, so that the norm tells the steps of one
        problem from those of another. Where only C-points are stored the shape is (0,).
        """
        functional, points = self.functional, self.point.state.points
        if functional.state.intervals is not None:
            return np.empty(0)
        space, comm = functional.space, functional.comm
        squared = reduce(comm, space.squared_norm(points[0 if comm.rank == 0 else 1 :]))
        return np.sqrt(reduce(space.comm, squared))

    def _c_points(self) -> dict[str, Any]:
        """Return views of what solves start from, by C-point of this rank; none with one level."""
        functional, known = self.functional, {}
        if functional.grid.levels == 1:
            return {}
        for name in ("state", "adjoint"):
            equation, solution = getattr(functional, name), getattr(self.point, name)
            known[name] = equation.solver.c_points(solution.points)
            # Lagged solves start from these, too.
            if self.strategy.inner.lagged:
                level = equation.solver.levels[1]
                own = level.place(range(1, level.layout.local_steps + 1))
                known[f"{name}_tau"] = equation.tau_of(solution)[own]
        return known


@dataclass(frozen=True)
class _DescentLayout(Layout):
    """The arrays of a descent method.

    Attributes
    ----------
    fields : dict of str to tuple of int
        Shapes of the control's fields, all time steps and all ranks together.
    starts : dict of str to Declared
        Of what solves start from.
    most_pairs : int
        Of the inverse Hessian.
    """

    fields: Mapping[str, tuple[int, ...]]
    starts: Mapping[str, Declared]
    most_pairs: int

    def wanted(self, declared: Mapping[str, Declared]) -> dict[str, tuple[Declared, ...]]:
        length_of("products", declared, 2, 3)
        pairs = declared["products"].shape[-1]
        if pairs > self.most_pairs:
            raise ValueError(f"`products` must be of at most {self.most_pairs} pairs, not {pairs}")
        real = np.dtype(float)
        shapes = {
            "products": (2, pairs, pairs),
            **{f"control.{name}": (1, *shape) for name, shape in self.fields.items()},
        }
        for part in ("s", "y") if pairs else ():
            shapes |= {f"{part}.{name}": (pairs, *shape) for name, shape in self.fields.items()}
        return {
            **{name: (Declared(real, shape),) for name, shape in shapes.items()},
            **{name: (one,) for name, one in self.starts.items()},
            "trajectory": (Declared(real, (0,)), Declared(real, (1,))),
        }

    def check(self, arrays: Mapping[str, np.ndarray]) -> None:
        least = arrays["products"][0].diagonal().min(initial=np.inf)
        if least <= 0:
            raise ValueError(f"`products` must have (s, y) > 0 of each pair, got {least:.10g}")


def _check_products(hessian: InverseHessian) -> None:
    """Raise ValueError unless the inner products are those of the pairs. Collective."""
    if not hessian.pairs:
        return
    found, s_squared = hessian.measured()
    norms = np.sqrt([s_squared, found[1].diagonal()])
    wrong = ~(abs(hessian.products - found) <= 1e-8 * norms[:, :, None] * norms[1])
    if wrong.any():
        where = tuple(np.argwhere(wrong)[0])
        raise ValueError(
            f"`products` has {hessian.products[where]:.10g} for a pair with "
            f"({'sy'[where[0]]}, y) = {found[where]:.10g}"
        )
