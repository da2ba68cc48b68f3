"""Where the errors live that cycles reduce least."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pint.comm import gather_rows, reduce
from pint.diagnosis.factors import Equation, Factor
from pint.mgrit.perturbation import Perturbation
from pint.states import Block

Cause = Literal["none", "unstable", "growth", "undamped", "phase", "damping"]

FAST = 0.25
"""A factor that needs no remedy."""

SENTENCES: dict[str, str] = {
    "none": "the cycles converge fast.",
    "unstable": "the coarse step is unstable: its size is beyond what its scheme can take.",
    "growth": "the states grow: the fine steps themselves amplify an error over a coarse step.",
    "undamped": "the coarse step keeps what the fine steps damp.",
    "phase": (
        "the fine steps carry the error on almost undamped, and the coarse step moves it at "
        "another speed: oscillation or transport, which coarse steps of this size do not resolve."
    ),
    "damping": "fine and coarse steps damp the error, by different factors.",
}


@dataclass(frozen=True)
class SlowPart:
    """The error that the slowest two levels reduce least.

    Attributes
    ----------
    level : int
        The finer one of them.
    equation : 'state' or 'adjoint'
    factor : float
        By which a cycle changes it.
    component : int
        The component of the state with most of it, in the order of memory and of ranks in space.
    share : float
        The part of the squared norm that this component has.
    name : str
        Of the component.
    wavelength : float or None
        Its mean wavelength in components, for states that are vectors of at least 9.
    frequency : float
        In time, periods per unit of time; below the resolution of the C-points.
    points : float
        Coarse steps in a period; infinite at frequency zero.
    late : float
        The part of the squared norm in the second half of the sweep; 0.5 if it is everywhere.
    fine_growth, coarse_growth, mismatch : float
        Norms of ``A e``, ``B e`` and ``(A - B) e`` over one coarse step, relative to that of e;
        infinite if they overflow.
    cause : str
        'none', 'unstable', 'growth', 'undamped', 'phase' or 'damping'.
    """

    level: int
    equation: Equation
    factor: float
    component: int
    share: float
    name: str
    wavelength: float | None
    frequency: float
    points: float
    late: float
    fine_growth: float
    coarse_growth: float
    mismatch: float
    cause: Cause

    def __str__(self) -> str:
        where = self.name
        if self.share < 0.995:
            where += f" ({100 * self.share:.0f} % of it)"
        if self.wavelength is not None:
            where = f"waves of {self.wavelength:.3g} components"
        period = "constant or slow in time"
        if self.frequency > 0:
            period = f"{self.frequency:.3g} periods per unit of time"
            period += f" ({self.points:.3g} coarse steps each)"
        when = ", late in the sweep" if self.late > 0.8 else ""
        return (
            f"level {self.level}, {self.equation} equation, factor {self.factor:.2g}: {where}, "
            f"{period}{when}. Over a coarse step the fine steps multiply it by "
            f"{self.fine_growth:.3g}, the coarse step by {self.coarse_growth:.3g}; what they make "
            f"of it differs by {self.mismatch:.2g} of its size. Cause: {SENTENCES[self.cause]}"
        )


def slow_part(
    near: Perturbation, error: Block, factor: Factor, names: list[str], dt: float
) -> SlowPart:
    """Return a description of the error that belongs to a factor. Collective.

    `names` are those of the components, `dt` the size of a coarse step.
    """
    solver, space = near.solver, near.space
    # A rank may have no C-point.
    flat = np.real(space.as_array(error)).reshape(len(error), int(np.prod(space.shape, dtype=int)))
    flat = flat.astype(float)
    parts = space.comm.allgather(reduce(solver.comm, (flat**2).sum(axis=0)))
    shares = np.concatenate(parts)
    component = int(np.argmax(shares))
    share = float(shares[component] / shares.sum()) if shares.sum() > 0 else 1.0
    # The rank in space that has it, and where
    ends = np.cumsum([len(part) for part in parts])
    owner = int(np.searchsorted(ends, component, side="right"))
    place = component - int(ends[owner]) + len(parts[owner]) if owner == space.comm.rank else 0
    series = space.comm.allgather(gather_rows(solver.comm, flat[:, [place]])[:, 0])[owner]
    frequency, points = _frequency(series, dt)
    sizes = reduce(space.comm, gather_rows(solver.comm, (flat**2).sum(axis=1, keepdims=True))[:, 0])
    half = len(sizes) // 2
    later = sizes[:half] if solver.reverse else sizes[len(sizes) - half :]
    late = float(later.sum() / sizes.sum()) if sizes.sum() > 0 else 0.5
    alone = space.comm.size == 1
    name = _name(component, space.shape if alone else shares.shape, names)
    fine, coarse, mismatch = (
        value if math.isfinite(value) else math.inf for value in near.growth(error)
    )
    return SlowPart(
        factor.level,
        factor.equation,
        factor.value,
        component,
        share,
        name,
        _wavelength(near, space.as_array(error), len(shares)),
        frequency,
        points,
        late,
        fine,
        coarse,
        mismatch,
        _cause(factor.value, fine, coarse),
    )


def _name(component: int, shape: tuple[int, ...], names: list[str]) -> str:
    if len(shape) == 1:
        return names[component] if len(names) == shape[0] else f"component {component}"
    return f"entry {tuple(int(place) for place in np.unravel_index(component, shape))}"


def _cause(factor: float, fine: float, coarse: float) -> Cause:
    if factor < FAST:
        return "none"
    # Norms of stable steps may grow for a while, but then the cycles still converge.
    if math.isinf(factor) or (factor > 1 and coarse > 1.1 * max(fine, 1.0)):
        return "unstable"
    if fine > 1.05:
        return "growth"
    if fine < 0.5 * coarse:
        return "undamped"
    return "phase" if fine > 0.7 else "damping"


def _frequency(series: np.ndarray, dt: float) -> tuple[float, float]:
    """Return the frequency with most power, and the samples in its period."""
    if len(series) < 4 or not np.abs(series).max() > 0:
        return 0.0, math.inf
    # A window, because the series is no period of what it samples; padded for resolution.
    count = 4 * len(series)
    power = np.abs(np.fft.rfft(series * np.hanning(len(series) + 2)[1:-1], count)) ** 2
    place = int(np.argmax(power))
    # Less than one period over the whole time is no oscillation.
    if place < 4:
        return 0.0, math.inf
    return place / (count * dt), count / place


def _wavelength(near: Perturbation, error: np.ndarray, numbers: int) -> float | None:
    """Return the wavelength whose differences are as large, for states that are vectors."""
    if error.ndim != 2 or numbers < 9:  # other axes may count examples
        return None
    first = (np.abs(np.diff(error, axis=-1)) ** 2).sum()
    all_, differences = _sum(near, (np.abs(error) ** 2).sum()), _sum(near, first)
    if not all_ > 0 or not differences > 0:
        return None
    return float(math.pi / math.asin(min(1.0, 0.5 * (differences / all_) ** 0.5)))


def _sum(near: Perturbation, local: Any) -> float:
    return float(reduce(near.space.comm, reduce(near.solver.comm, local))[0])
