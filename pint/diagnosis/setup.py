"""A way to solve a problem: its levels and what is done on them."""

from __future__ import annotations

from dataclasses import dataclass

from pint.grid import TimeGrid
from pint.mgrit.solver import relaxation_counts
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True)
class Setup:
    """Levels, coarsening factors and relaxation; one level is sequential stepping.

    Attributes
    ----------
    coarsening : tuple of int
        As `TimeGrid.coarsening`, one factor for each level but the coarsest.
    relaxation : tuple of str
        One word for each level but the coarsest.
    """

    coarsening: tuple[int, ...] = ()
    relaxation: tuple[str, ...] = ()

    @classmethod
    def of(cls, functional: ReducedFunctional) -> Setup:
        """Return the set-up of a functional."""
        counts = functional.state.solver.smoother.counts
        words = tuple("F" + "CF" * count for count in counts[: functional.grid.levels - 1])
        return cls(functional.grid.coarsening, words)

    @property
    def levels(self) -> int:
        """The number of levels."""
        return len(self.coarsening) + 1

    def functional(self, functional: ReducedFunctional) -> ReducedFunctional:
        """Return the functional of the same problem with this set-up. Collective."""
        old = functional.grid
        grid = TimeGrid(old.t, self.coarsening or 2, self.levels, old.comm)
        return functional.on(grid, relaxation=self.relaxation or "F", unconverged="ignore")

    def cycle_steps(self, steps: int, ranks: int = 1) -> int:
        """Return the steps of a V-cycle that follow each other on one of many ranks."""
        if self.levels == 1:
            return steps
        total, counts = 0, relaxation_counts(self.relaxation, self.levels)
        for level, (factor, count) in enumerate(zip(self.coarsening, counts, strict=True)):
            intervals = steps // factor
            own = -(-intervals // ranks) * factor
            # Below level 0: relaxation, its right-hand side, and F-relaxation on the way up.
            total += own * (count + 1) + (2 * own - own // factor if level > 0 else 0)
            steps = intervals
        return total + steps + -(-steps // ranks)

    def __str__(self) -> str:
        if self.levels == 1:
            return "one level (sequential steps)"
        return f"{self.levels} levels, m = {_short(self.coarsening)}, {_short(self.relaxation)}"


def _short(values: tuple[object, ...]) -> str:
    """Return equal values once, others in order."""
    return str(values[0]) if len(set(values)) == 1 else ", ".join(map(str, values))
