"""MGRIT: cycles until the residual is small enough, or a given number of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, zip_longest
from typing import Literal

from pint.comm import reduce
from pint.errors import Uncopied, check_choice, check_kind, is_number, number, shown
from pint.grid import TimeGrid
from pint.mgrit.accuracy import Accuracy, Convergence
from pint.mgrit.cycle import (
    Smoother,
    c_point_residuals,
    coarse_right_hand_side,
    cycle,
    first_guess,
    lagged_cycle,
    march,
)
from pint.mgrit.hierarchy import CHUNK_BYTES, Level, Propagator, chunk_size
from pint.mgrit.relaxation import f_relaxation
from pint.mgrit.transfer import inject, sum_right_hand_sides
from pint.report.timing import Phases
from pint.states import Block, LevelTransfer, StateSpace

logger = logging.getLogger(__name__)

WARM_START = 10.0
"""The first residual of a warm start is taken for so many times the tolerance."""

Guess = Literal["zero", "constant", "coarse", "nested"]
Storage = Literal["all", "C"]


class MGRIT(Uncopied):
    """Multigrid reduction in time for ``Y[k+1] = Phi(Y[k]) + g[k+1]``, ``Y[0]`` given [1]_.

    Parameters
    ----------
    grid : TimeGrid
        Levels and ranks; one level is sequential time stepping.
    space : StateSpace
        Of level 0.
    reverse : bool
        Number points and steps from the end of time.
    relaxation : str or sequence of str
        "F", "FCF", "FCFCF", ...: for all levels, or one for each level but the coarsest.
    c_weight : float
        Weight of the C-relaxation, 0 < c_weight < 2.
    cycle : 'V' or 'F'
    phases : Phases, optional
        Clocks to add to, which other solvers may share; by default this solver's own.
    chunk_bytes : int, optional
        States of so many bytes are advanced together; by default those of a core's L2 cache.
    storage : 'all' or 'C'
        The points of level 0 that trajectories hold. With 'C', the C-points alone, the propagator's
        step of level 0 goes over a whole interval, by m time steps, and adds what sources belong
        to the points within; `rhs` is that of the C-points.
    transfers : sequence of (LevelTransfer or None), optional
        By level: from the states of the next finer level to those of this one; None, as for level
        0, where they are the same. See `pint.Transfer.between`.

    Attributes
    ----------
    cycles_done : int
        Cycles from level 0 so far, in all solves.

    Raises
    ------
    ValueError
        If an argument is unknown or out of range, or the grid does not allow for the storage of
        C-points alone.

    References
    ----------
    .. [1] Falgout et al., SIAM J. Sci. Comput. 36 (2014), C635, doi:10.1137/130944230.
    """

    def __init__(
        self,
        grid: TimeGrid,
        space: StateSpace,
        *,
        reverse: bool = False,
        relaxation: str | Sequence[str] = "FCF",
        c_weight: float = 1.0,
        cycle: Literal["V", "F"] = "V",
        phases: Phases | None = None,
        chunk_bytes: int | None = None,
        storage: Storage = "all",
        transfers: Sequence[LevelTransfer | None] = (),
    ) -> None:
        check_kind("MGRIT", "grid", grid, TimeGrid, "a TimeGrid")
        check_kind("MGRIT", "space", space, StateSpace, "a StateSpace")
        check_choice("MGRIT", "storage", storage, ("all", "C"))
        check_choice("MGRIT", "cycle", cycle, ("V", "F"))
        if not is_number(c_weight) or not 0 < c_weight < 2:
            raise ValueError(
                f"`MGRIT(c_weight=...)` must lie between 0 and 2, got {shown(c_weight)}."
            )
        if chunk_bytes is not None:
            chunk_bytes = int(number("MGRIT", "chunk_bytes", chunk_bytes, positive=True))
        if storage == "C":
            grid.check_c_points("`MGRIT(storage='C')`")
        chunk_bytes = space.chunk_bytes if chunk_bytes is None else chunk_bytes
        chunk_bytes = CHUNK_BYTES if chunk_bytes is None else chunk_bytes
        self.comm = grid.comm
        self.reverse = reverse
        self.space = space
        self.smoother = Smoother(relaxation_counts(relaxation, grid.levels), float(c_weight))
        self.f_cycle = cycle == "F"
        self.phases = Phases() if phases is None else phases
        self.cycles_done = 0
        layouts = grid.c_point_layouts(reverse) if storage == "C" else grid.layouts(reverse)
        # Batches are one step of each interval, or all steps of level 1.
        most = layouts[min(1, grid.levels - 1)].local_steps + 2
        self.levels: list[Level] = []
        for layout, transfer in zip_longest(layouts, transfers):
            if not self.levels or transfer is not None:
                own = space if transfer is None else transfer.coarse
                chunk = chunk_size(own, chunk_bytes)
                scratch = own.allocate(min(chunk, most))
            comm = own.messenger(grid.comm)
            parts = (layout, own, comm, self.phases, chunk, scratch, reverse, transfer)
            self.levels.append(Level(*parts))

    @property
    def steps_evaluated(self) -> tuple[int, ...]:
        """Steps that this rank has evaluated so far, by level."""
        return tuple(level.steps_evaluated for level in self.levels)

    def allocate(self) -> Block:
        """Return a zero trajectory: row i is this rank's i-th point in time, the first is given.

        The first point of a rank belongs to its neighbour before; for a sweep backward in time,
        its last point to the neighbour after it.
        """
        return self.space.allocate(self.levels[0].layout.local_steps + 1)

    def c_points(self, trajectory: Block) -> Block:
        """Return a view of this rank's C-points of a trajectory; at least two levels."""
        return trajectory[self.levels[0].place(self.levels[0].layout.c_rows)]

    def copy_guess(self, source: Block, target: Block) -> None:
        """Copy what a warm start needs, the C-points, from one trajectory to another."""
        if len(self.levels) > 1:
            self.c_points(target)[...] = self.c_points(source)

    def set_guess(
        self, propagator: Propagator, trajectory: Block, guess: Guess, rhs: Block | None = None
    ) -> None:
        """Fill a trajectory with a first guess, in place; its first point is given. Collective.

        Nothing is done on one level, where a solve does not start from a guess.

        Parameters
        ----------
        propagator : Propagator
        trajectory : Block
            On the first rank of the sweep the first point holds Y[0].
        guess : 'zero', 'constant', 'coarse' or 'nested'
            Zero, or Y[0], at all other points; a coarse march (the coarsest level solved by
            stepping, the first way down left out); or nested iteration, which adds one V-cycle
            on each intermediate level.
        rhs : Block, optional
            g, laid out as the trajectory.
        """
        if len(self.levels) == 1:
            return
        finest = self._bind(propagator, trajectory, rhs, guessed=False)
        others = finest.place(range(1, finest.layout.local_steps + 1))
        if guess == "zero":
            trajectory[others] = 0.0
        elif guess == "constant":
            # Only the first rank of the sweep has Y[0].
            initial = self.space.allocate(1)
            if finest.layout.owns_initial:
                initial[...] = trajectory[finest.point(0)]
            with self.phases("communication"):
                messenger = self.space.messenger(self.comm)
                messenger.Bcast(initial, root=self.comm.size - 1 if self.reverse else 0)
            trajectory[others] = initial
        elif guess in ("coarse", "nested"):
            with self.phases("coarse"):
                first_guess(self.levels, self.smoother, v_cycles=1 if guess == "nested" else 0)
        else:
            raise ValueError(f"`guess` is 'zero', 'constant', 'coarse' or 'nested', got {guess!r}.")

    def solve(
        self,
        propagator: Propagator,
        trajectory: Block,
        accuracy: Accuracy,
        rhs: Block | None = None,
        relaxed: bool = False,
        guessed: bool = False,
    ) -> Convergence:
        """Improve a trajectory, in place, from the C-points that it holds. Collective.

        `Propagator.begin_pass` announces the F-relaxation that ends the solve, and that of a cycle
        that is expected to meet the tolerance, as one that may be the last pass.

        Parameters
        ----------
        propagator : Propagator
        trajectory : Block
            Warm start: its C-points count, and the first point on the first rank.
        accuracy : Accuracy
        rhs : Block, optional
            g, laid out as the trajectory.
        relaxed : bool
            Whether the F-points are those of the C-points, after `relax` or a solve with the
            same propagator and right-hand side: the first F-relaxation is then left out.
        guessed : bool
            Whether the F-points are near the solution: guesses for iterative steps.
        """
        self._bind(propagator, trajectory, rhs, guessed)
        if len(self.levels) == 1:
            return self._march()
        residuals: list[float] = []
        # `bound` is that of the trajectory's last norm; the next one is not known before the pass.
        converged, bound = False, -math.inf

        def proceed(*squared_norms: float) -> bool:
            nonlocal converged, bound
            residual, norm = (total**0.5 for total in self._sums(*squared_norms))
            residuals.append(residual)
            bound = accuracy.bound(norm)
            converged = residual <= bound
            return not converged

        most = min(accuracy.cycles, self._enough)
        while not converged and len(residuals) < most:
            # Known only after the pass; if it was not the last one, the work for it was in vain.
            if residuals:
                near = _expected(residuals) <= propagator.margin * bound
            else:  # a warm start may be good enough already
                near = guessed and propagator.margin >= WARM_START
            near = near and accuracy.has_tolerance
            first = relaxed and not residuals
            cycle(self.levels, self.smoother, self.f_cycle, proceed, first, last=near)
            self.cycles_done += 1
        if not converged:  # the last coarse correction has changed the C-points
            propagator.begin_pass(last=True)
            with self.phases("relaxation"):
                f_relaxation(self.levels[0])
        logger.debug("%d cycles, last residual %.3e", len(residuals), residuals[-1])
        return Convergence(tuple(residuals), converged, bound if accuracy.has_tolerance else 0.0)

    def lagged_solve(
        self,
        propagator: Propagator,
        trajectory: Block,
        tau: Block,
        cycles: int,
        rhs: Block | None = None,
        weights: Block | None = None,
        guessed: bool = False,
        start: Block | None = None,
    ) -> tuple[Convergence, float]:
        """Do cycles that each begin with the coarse correction, in place. Collective.

        The right-hand side `tau` of the coarse equation is that of the cycle before: one that is
        out of date where the steps have changed since, by little if they changed by little. A
        cycle with F-relaxation then evaluates each step of level 0 once.
        `Propagator.begin_pass` announces the last F-relaxation of the last cycle as the last pass;
        it makes all steps of level 0.

        Parameters
        ----------
        propagator, trajectory, rhs, guessed
            As in `solve`.
        tau : Block
            From `allocate_tau`, and changed in place.
        cycles : int
        weights : Block, optional
            A state for each point, laid out as the trajectory.
        start : Block, optional
            The right-hand side to begin with in place of `tau`; it stays as it is.

        Returns
        -------
        Convergence
        float
            The product of the last residual with the `weights` at the C-points, summed over all
            ranks.
        """
        self._bind(propagator, trajectory, rhs, guessed)
        residuals: list[float] = []
        product = 0.0
        most = min(cycles, self._enough)
        for index in range(most):
            last = index == most - 1
            before = start if index == 0 else None
            numbers = lagged_cycle(
                self.levels, self.smoother, self.f_cycle, tau, last, weights, before
            )
            squared_residual, product = self._sums(*numbers)
            residuals.append(squared_residual**0.5)
            self.cycles_done += 1
        # Lagged cycles have no tolerance that they could have met.
        return Convergence(tuple(residuals), converged=False), product

    def allocate_tau(self) -> Block:
        """Return a zero right-hand side of level 1 for `lagged_solve`; at least two levels."""
        return self.levels[1].space.allocate(self.levels[1].layout.local_steps + 1)

    @property
    def stalling_level(self) -> int | None:
        """The first level with F-relaxation alone above a space of fewer numbers, None without.

        What R takes to zero is then never corrected at its C-points.
        """
        for count, (fine, coarse) in zip(self.smoother.counts, pairwise(self.levels), strict=False):
            if count == 0 and coarse.space.state_bytes < fine.space.state_bytes:
                return fine.layout.level
        return None

    @property
    def replaces_c_points(self) -> bool:
        """Whether a lagged solve overwrites all C-points before it reads them."""
        return len(self.levels) == 2 and self.levels[1].transfer is None

    def add_sums(self, tau: Block, rhs: Block, sign: float = 1.0) -> None:
        """Add the sums of `rhs` over the steps of level 1 to `tau`, in place. Collective."""
        fine, coarse = self.levels[:2]
        fine.rhs = rhs
        # The right-hand side of level 1 may hold the sums: every cycle sets it again.
        sum_right_hand_sides(fine, coarse)
        coarse.rhs *= sign
        tau += coarse.rhs

    @property
    def _enough(self) -> int:
        """Cycles after which no further one could change a trajectory by more than rounding.

        Each makes another C-point exact, since those before it are and stay so. A few more: a
        lagged solve may begin with a right-hand side that says nothing, and rounding is not all.
        """
        return self.levels[1].layout.steps + 10

    def _sums(self, *local: float) -> list[float]:
        """Return numbers summed over all ranks in time and space. Collective."""
        with self.phases("communication"):
            return reduce(self.space.comm, reduce(self.comm, local)).tolist()

    def march(
        self,
        propagator: Propagator,
        trajectory: Block,
        rhs: Block | None = None,
        guessed: bool = False,
    ) -> Convergence:
        """Solve by stepping through level 0, in place, one rank after the other. Collective.

        A trajectory of one state keeps the state that each rank reaches last.
        """
        self._bind(propagator, trajectory, rhs, guessed)
        return self._march()

    def _march(self) -> Convergence:
        self.levels[0].propagator.begin_pass(last=True)
        with self.phases("relaxation"):
            march(self.levels[0])
        return Convergence((), True)

    def relax(
        self,
        propagator: Propagator,
        trajectory: Block,
        rhs: Block | None = None,
        guessed: bool = False,
    ) -> None:
        """Do one F-relaxation of level 0, in place; one level is solved by stepping. Collective."""
        if len(self.levels) == 1:
            self.march(propagator, trajectory, rhs, guessed)
            return
        self._bind(propagator, trajectory, rhs, guessed)
        propagator.begin_pass(last=True)
        with self.phases("relaxation"):
            f_relaxation(self.levels[0])

    def linearise(self, propagator: Propagator, trajectory: Block) -> None:
        """Prepare the corrected steps of level 1 at a relaxed trajectory. Collective."""
        self._bind(propagator, trajectory, None, guessed=True)
        inject(*self.levels[:2])
        coarse_right_hand_side(*self.levels[:2])

    def residual(
        self, propagator: Propagator, trajectory: Block, rhs: Block | None = None
    ) -> Iterator[tuple[slice, Block]]:
        """Yield rows of C-points, some at a time, and the residual there, by one step each.

        ``Phi(u_{C-1}) + g_C - u_C``; it is zero at the F-points of a relaxed trajectory, and
        everywhere on a grid of one level, where nothing is yielded. Not collective.
        """
        self._bind(propagator, trajectory, rhs, guessed=True)
        if len(self.levels) > 1:
            yield from c_point_residuals(self.levels[0])

    def _bind(
        self, propagator: Propagator, trajectory: Block, rhs: Block | None, guessed: bool
    ) -> Level:
        """Give the levels what they work on; return level 0."""
        finest = self.levels[0]
        finest.trajectory, finest.rhs, finest.guessed = trajectory, rhs, guessed
        for level in self.levels:
            level.propagator = propagator
        return finest

    def bad_level(self) -> int | None:
        """Return the coarsest level whose states are not finite on some rank. Collective."""
        # The coarsest one: explicit steps become unstable there first, and spread from there.
        bad = [level.layout.level for level in self.levels if not level.is_finite]
        in_time = reduce(self.comm, max(bad, default=-1), "max")
        worst = int(reduce(self.space.comm, in_time, "max")[0])
        return None if worst < 0 else worst


def _expected(residuals: list[float]) -> float:
    """Return the residual to expect of the next cycle, from those before."""
    ratio = residuals[-1] / residuals[-2] if len(residuals) > 1 and residuals[-2] > 0 else 0.1
    return residuals[-1] * min(ratio, 1.0)


def relaxation_counts(relaxation: str | Sequence[str], levels: int) -> tuple[int, ...]:
    """Return nu for each level but the coarsest from words such as "FCF".

    Raises
    ------
    ValueError
        If a word is not F(CF)*, or there are not as many words as levels to relax.
    """
    several = isinstance(relaxation, Iterable) and not isinstance(relaxation, str)
    words: tuple[str, ...] = tuple(relaxation) if several else (relaxation,)  # type: ignore[assignment]
    for word in words:
        if not isinstance(word, str) or word != "F" + "CF" * word.count("C"):
            raise ValueError(f"`relaxation` must be 'F', 'FCF', 'FCFCF', ..., got {shown(word)}.")
    if len(words) == 1:
        words *= max(levels - 1, 1)
    if levels > 1 and len(words) != levels - 1:
        raise ValueError(
            f"`relaxation` has {len(words)} words for {levels} levels; give one, or {levels - 1}."
        )
    return tuple(word.count("C") for word in words)
