"""Time points, their levels, and which rank owns which of them: integers and times only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from pint.comm import SerialComm, agreeing, private
from pint.errors import integer, number, real_array, shown
from pint.grid.steps import Steps
from pint.grid.uniform import UniformTimes


@dataclass(frozen=True)
class LevelLayout:
    """One rank's part of one level, for one direction of time.

    Point i of the level is point ``i * stride`` of the finest level, counted in the direction of
    the sweep. The rank owns the steps [first, last), the points first+1..last, and point 0 if it
    is the first rank; ``left`` and ``right`` are the next ranks that own points of this level.

    Attributes
    ----------
    level, stride : int
        Level, 0 is the finest, and the number of finest steps that one of its steps covers.
    coarsening_factor : int
        To the next coarser level; 0 on the coarsest.
    steps : int
        Number of steps of the level on all ranks.
    first, last : int
        The rank's steps are first, ..., last - 1.
    owns_initial : bool
        Whether the rank owns point 0.
    left, right : int or None
        Ranks to exchange states with.
    substeps : int
        Number of time steps that one step of the level is made of.
    """

    level: int
    stride: int
    coarsening_factor: int
    steps: int
    first: int
    last: int
    owns_initial: bool
    left: int | None
    right: int | None
    substeps: int = 1

    @property
    def local_steps(self) -> int:
        """Number of steps of this level on this rank."""
        return self.last - self.first

    @property
    def active(self) -> bool:
        """Whether this rank owns a point of this level."""
        return self.owns_initial or self.local_steps > 0

    # C- and F-points, by row: row r is point ``first + r``

    @property
    def starts_at_c_point(self) -> bool:
        """Whether the point before the rank's first step, row 0, is a C-point."""
        return self.first % self.coarsening_factor == 0

    @property
    def first_c_row(self) -> int:
        """Row of the first C-point after row 0."""
        factor = self.coarsening_factor
        return factor - self.first % factor

    @property
    def c_rows(self) -> range:
        """Rows of the C-points that this rank owns, point 0 left out."""
        return range(self.first_c_row, self.local_steps + 1, self.coarsening_factor)

    @property
    def last_row_is_c_point(self) -> bool:
        """Whether the rank's last point is a C-point."""
        return self.last % self.coarsening_factor == 0

    @property
    def last_open_interval(self) -> int | None:
        """Row where an interval begins here that ends on the next rank; None without one."""
        if self.right is None or self.last_row_is_c_point:
            return None
        factor = self.coarsening_factor
        start = self.last // factor * factor - self.first
        return start if start > 0 or (start == 0 and self.owns_initial) else None

    def intervals(self, without: int | None = None) -> range:
        """Return the rows at which intervals with F-points begin, except the row `without`."""
        start = 0 if self.starts_at_c_point else self.first_c_row
        stop = self.local_steps if without is None else without
        # There are none where all points are C-points.
        stop = start if self.coarsening_factor == 1 else stop
        return range(start, stop, self.coarsening_factor)


class TimeGrid:
    """Time points t_0 < ... < t_N, their coarser levels, and their distribution over ranks.

    Level l has ``N_l = floor(N_{l-1} / m_{l-1})`` steps, its points are every
    ``m_0 ... m_{l-1}``-th finest point; N need not be divisible. Rank r owns the steps
    [n0, n1) and the points n0+1..n1 (rank 0 also point 0).

    Parameters
    ----------
    t : array_like, shape (N + 1,)
        Strictly increasing times. An array is copied unless it is read-only.
    coarsening : int or sequence of int
        Coarsening factor m >= 2, for all levels or one for each level but the coarsest.
    levels : int
        Number of levels, 1 for sequential time stepping.
    comm : communicator, optional
        The ranks in time, `pint.world()` for all of them; one process by default.

    Attributes
    ----------
    t : ndarray or UniformTimes, shape (N + 1,)
        All times. Those of a uniform grid are not stored: see `pint.grid.uniform.UniformTimes`.

    Raises
    ------
    ValueError
        If the times do not increase or are not finite, or a level would have no step.

    Notes
    -----
    Collective: all ranks make the same grid, and an error of one is an error on all of them.

    Examples
    --------
    >>> grid = TimeGrid.uniform(1.0, 64, coarsening=2, levels=4)
    >>> [layout.steps for layout in grid.layouts()]
    [64, 32, 16, 8]
    """

    may_differ = ("first", "last")

    def __init__(
        self,
        t: Any,
        coarsening: int | Sequence[int] = 2,
        levels: int = 1,
        comm: Any = None,
    ) -> None:
        self.comm: Any = private(comm, "TimeGrid(comm=...)")
        with agreeing(self.comm, "TimeGrid") as ranks:
            self.t: Any = _checked_times(t)
            self.steps = self.t.size - 1
            self.coarsening = _coarsening_factors(coarsening, levels, self.steps)
            self.levels = len(self.coarsening) + 1
            ranks.same = {"steps": self.steps, "levels": self.levels}
            ranks.same["coarsening"] = self.coarsening
            is_uniform = isinstance(self.t, UniformTimes)
            ranks.same["final_time" if is_uniform else "t"] = self.t[-1] if is_uniform else self.t
        self._size = _uniform_size(self.t)
        self.strides = tuple(
            int(np.prod(self.coarsening[:level], dtype=int)) for level in range(self.levels)
        )
        # Ranks own whole coarse intervals, if there are enough of them, otherwise single steps.
        # A rank boundary at a C-point lets all ranks relax at the same time.
        factor = self.coarsening[0] if self.coarsening else 1
        self._unit = factor if self.steps // factor >= self.comm.size else 1
        self.first = self.boundary(self.comm.rank)
        self.last = self.boundary(self.comm.rank + 1)
        self._layouts = {
            reverse: tuple(self._layout(level, reverse) for level in range(self.levels))
            for reverse in (False, True)
        }

    @classmethod
    def uniform(
        cls,
        final_time: float,
        steps: int,
        coarsening: int | Sequence[int] = 2,
        levels: int = 1,
        comm: Any = None,
    ) -> TimeGrid:
        """Return the grid of `steps` equal steps from 0 to `final_time`."""
        return cls(_Uniform(final_time, steps), coarsening, levels, comm)

    @property
    def local_steps(self) -> int:
        """Number of finest steps that this rank owns."""
        return self.last - self.first

    @property
    def dt(self) -> np.ndarray:
        """Sizes of this rank's finest steps, shape (local_steps,)."""
        if self._size is not None:
            return np.full(self.local_steps, self._size)
        sizes: np.ndarray = np.diff(self.t[self.first : self.last + 1])
        return sizes

    @property
    def last_rank(self) -> int:
        """The rank that owns the last point; it is never without a step."""
        return self.comm.size - 1

    @property
    def first_step_rank(self) -> int:
        """The rank that owns step 0 (rank 0 unless there is only one step)."""
        return self.rank_of_step(0)

    def boundary(self, rank: int) -> int:
        """Return the first finest step of a rank; N for the number of ranks.

        The ranks share steps, or coarse intervals, evenly. The last rank always owns a step,
        because the adjoint starts there.
        """
        units, size = self.steps // self._unit, self.comm.size
        if rank == size:
            return self.steps
        if units < size:  # more ranks than steps
            return min(rank, self.steps - 1)
        return int(self._unit * (rank * units // size))

    def rank_of_step(self, step: int) -> int:
        """Return the rank that owns a finest step."""
        units, size = self.steps // self._unit, self.comm.size
        if units < size:
            return int(step if step < self.steps - 1 else size - 1)
        return int(min(((step // self._unit + 1) * size - 1) // units, size - 1))

    def layouts(self, reverse: bool = False) -> tuple[LevelLayout, ...]:
        """Return this rank's part of each level.

        Parameters
        ----------
        reverse : bool
            Count points and steps from the end of time: reversed point k is point N - k, and the
            C-points are multiples of the coarsening factor counted from the end.
        """
        return self._layouts[reverse]

    @property
    def coarse_steps_coincide(self) -> bool:
        """Whether this rank's steps of level 1 are the same in both directions of time."""
        forward, backward = (self.layouts(reverse)[1] for reverse in (False, True))
        count = self.steps // forward.stride
        same = (forward.first, forward.last) == (count - backward.last, count - backward.first)
        return same and self.steps % forward.stride == 0

    def c_point_layouts(self, reverse: bool = False) -> tuple[LevelLayout, ...]:
        """Return this rank's part of each level, level 0 being its C-points alone.

        A step of level 0 is then made of the m finest steps of an interval, and every point of it
        is a C-point. The intervals must not be shared by ranks: see `check_c_points`.
        """
        coarse = self.layouts(reverse)[1:]
        substeps = self.coarsening[0]
        return replace(coarse[0], level=0, coarsening_factor=1, substeps=substeps), *coarse

    def check_c_points(self, option: str) -> None:
        """Raise ValueError, which begins with `option`, unless C-points alone can be stored."""
        what, instead = f"{option} stores the C-points alone", "or store all points"
        if self.levels == 1:
            raise ValueError(f"{what}, and a grid of one level has none: use 2 levels, {instead}.")
        m = self.coarsening[0]
        if self.steps % m:
            raise ValueError(
                f"{what}: the number of steps, N = {self.steps}, must be divisible by the "
                f"coarsening factor m = {m}; change one of them, {instead}."
            )
        if self.steps // m < self.comm.size:
            raise ValueError(
                f"{what}: each rank needs an interval of its own, but there are {self.comm.size} "
                f"ranks in time for N/m = {self.steps // m} intervals; use fewer ranks, {instead}."
            )

    def _layout(self, level: int, reverse: bool) -> LevelLayout:
        N, stride = self.steps, self.strides[level]
        begin, end = (N - self.last, N - self.first) if reverse else (self.first, self.last)
        first, last = begin // stride, end // stride
        outermost = self.comm.size - 1 if reverse else 0

        def owner(point: int) -> int:
            """Return the rank that owns a point of the level."""
            if point == 0:
                return outermost
            finest_step = point * stride - 1
            return self.rank_of_step(N - 1 - finest_step if reverse else finest_step)

        return LevelLayout(
            level=level,
            stride=stride,
            coarsening_factor=self.coarsening[level] if level + 1 < self.levels else 0,
            steps=N // stride,
            first=first,
            last=last,
            owns_initial=self.comm.rank == outermost,
            left=None if self.comm.rank == outermost else owner(first),
            right=owner(last + 1) if last < N // stride else None,
        )

    def batch(self, level: int, starts: range, state_dimensions: int) -> Steps:
        """Return the steps of `level` that begin at the finest points `starts`, as one batch."""
        stride, shape = self.strides[level], (len(starts),) + (1,) * state_dimensions
        return Steps(
            np.arange(starts.start, starts.stop, starts.step),
            self.t[as_slice(starts)].reshape(shape),
            self.t[as_slice(starts, stride)].reshape(shape),
            level,
            size=self.size_on(level),
        )

    def single(self, level: int, start: int) -> Steps:
        """Return the one step of `level` that begins at the finest point `start`."""
        end, size = start + self.strides[level], self.size_on(level)
        return Steps(start, float(self.t[start]), float(self.t[end]), level, size=size)

    def size_on(self, level: int) -> float | None:
        """Return the size of all steps of a level, None where they differ."""
        return None if self._size is None else self._size * self.strides[level]

    def __copy__(self) -> TimeGrid:
        return self

    def __deepcopy__(self, memo: Any) -> TimeGrid:
        return self  # nothing of it changes

    def __reduce__(self) -> tuple[Any, ...]:
        if not isinstance(self.comm, SerialComm):
            raise TypeError(
                "a TimeGrid whose steps belong to several ranks cannot be pickled; `Control.save` "
                "saves a control for any number of ranks."
            )
        return TimeGrid, (self.t, self.coarsening or 2, self.levels)


def as_slice(rows: range, shift: int = 0) -> slice:
    """Return the slice of the rows ``rows + shift``, none of them negative."""
    if not rows:
        return slice(0, 0)
    stop = rows.stop + shift
    return slice(rows.start + shift, stop if stop >= 0 else None, rows.step)


class _Uniform(NamedTuple):
    """What `TimeGrid.uniform` is given; the constructor checks it, on all ranks together."""

    final_time: Any
    steps: Any

    def times(self) -> UniformTimes:
        """Return the times, or raise an error."""
        steps = integer("TimeGrid.uniform", "steps", self.steps, 1)
        final_time = number("TimeGrid.uniform", "final_time", self.final_time, positive=True)
        if steps >= 2**62:
            raise ValueError(
                f"`TimeGrid.uniform(steps=...)` must be below 2^62, got {shown(steps)}."
            )
        try:
            return UniformTimes(final_time, steps)
        except ValueError as error:
            raise ValueError(f"`TimeGrid.uniform(final_time=..., steps=...)`: {error}") from None


def _checked_times(t: Any) -> Any:
    """Return a read-only copy of a user's times, or raise an error."""
    if isinstance(t, UniformTimes):
        return t
    if isinstance(t, _Uniform):
        return t.times()
    is_frozen = isinstance(t, np.ndarray) and t.base is None and not t.flags.writeable
    # An array that nobody can change is not copied: it may have as many entries as memory holds.
    times = t if is_frozen and t.dtype == float else real_array("TimeGrid(t=...)", t)
    if times.ndim != 1 or times.size < 2:
        raise ValueError(
            f"`TimeGrid(t=...)` must be at least two times (N >= 1), got {times.size}."
        )
    part = 2**16  # so that no array as long as the times is made
    increasing = all(
        (
            times[start + 1 : start + part + 1]
            > times[start : start + part][: times.size - 1 - start]
        ).all()
        for start in range(0, times.size - 1, part)
    )
    if not np.isfinite(times[[0, -1]]).all() or not increasing:
        raise ValueError("`TimeGrid(t=...)` must be finite and strictly increasing.")
    times.flags.writeable = False
    return times


def _uniform_size(times: Any) -> float | None:
    """Return the size of all steps; None unless they are those of `UniformTimes`."""
    if isinstance(times, UniformTimes):
        return times.step
    if times[0] != 0.0:
        return None
    try:
        uniform = UniformTimes(float(times[-1]), times.size - 1)
    except ValueError:
        return None
    part = 2**16
    same = all(
        np.array_equal(times[start : start + part], uniform[start : start + part])
        for start in range(0, times.size, part)
    )
    return uniform.step if same else None


def _coarsening_factors(
    coarsening: int | Sequence[int], levels: int, steps: int
) -> tuple[int, ...]:
    """Return one factor for each level but the coarsest, or raise ValueError."""
    levels = integer("TimeGrid", "levels", levels, 1)
    if levels - 1 > steps.bit_length():  # before as many factors are stored
        raise ValueError(
            f"`TimeGrid(levels=...)`: {shown(levels)} levels need more than N = {steps} steps; use "
            "fewer levels."
        )
    whole = isinstance(coarsening, Iterable) and not isinstance(coarsening, str)
    factors: tuple[int, ...] = tuple(coarsening) if whole else (coarsening,)  # type: ignore
    factors = tuple(integer("TimeGrid", "coarsening", factor, 2) for factor in factors)
    if len(factors) == 1:
        factors *= max(levels - 1, 1)
    if levels > 1 and len(factors) != levels - 1:
        raise ValueError(
            f"`TimeGrid(coarsening=...)` has {len(factors)} factors for {levels} levels; "
            f"give one, or {levels - 1}."
        )
    remaining = steps
    for level, factor in enumerate(factors[: levels - 1]):
        if factor > remaining:
            raise ValueError(
                f"`TimeGrid(coarsening=...)`: factor {shown(factor)} is larger than the "
                f"{remaining} steps of level {level} (N = {steps}); use a smaller factor or fewer "
                "levels."
            )
        remaining //= factor
    return factors[: levels - 1]
