"""The front door: which engine solves, and how ranks share the steps."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.linalg.lapack import dposv

from pint.comm import agreeing, alike, ending_all_ranks, private
from pint.errors import NotFiniteError, check_choice, check_kind
from pint.lq import riccati, scan
from pint.lq.elements import Element, Steps, after
from pint.lq.problem import LinearQuadratic, regularised
from pint.lq.riccati import LEAST_PIVOT, Backward
from pint.lq.solution import NotPositiveDefiniteError, Solution

_COMPILED_FROM = 200
"""Number of steps from which on ``backend="auto"`` compiles; the first time takes a second."""

_LARGEST_COMPILED = 24
"""Largest number of rows in machine code; LAPACK is faster beyond."""

_MANY = 1e3
"""Reach of the controls times value function from which on condensing looks for a better guess."""

_SCAN_FROM, _LARGEST_SCANNED = 64, 8
"""Steps and rows for which whole arrays are faster than a loop in Python."""


def solve(
    problem: LinearQuadratic,
    method: Literal["auto", "riccati", "scan"] = "auto",
    comm: Any = None,
    *,
    backend: Literal["auto", "numpy", "compiled"] = "auto",
    levenberg: float = 0.0,
    metric: Any = None,
) -> Solution:
    """Return the minimum of a linear-quadratic problem. Collective.

    Each rank passes over its own steps twice; between, every rank combines one small matrix of
    each other rank: the time is in proportion to N/P + P. Dynamics may be unstable.

    Parameters
    ----------
    problem : LinearQuadratic
        This rank's steps.
    method : str
        ``"riccati"``: step by step. ``"scan"``: by O(log N) operations of whole arrays [1]_, if
        all R are positive definite, else step by step.
    comm : communicator, optional
        The ranks in time.
    backend : str
        Of the Riccati recursion: ``"compiled"`` needs numba, ``"auto"`` uses it where it pays.
    levenberg : float
        Times `metric`, it is added to the diagonals of R.
    metric : array_like of shape (N, m) or (m,), optional
        Ones by default.

    Raises
    ------
    NotPositiveDefiniteError
        If some R + B^T P B is not positive definite; the error names the step.
    NotFiniteError
        If the states go beyond the largest float.
    ImportError
        If ``backend="compiled"`` finds no numba.
    ValueError, TypeError
        If an argument is wrong, or the ranks differ in what must be the same.

    References
    ----------
    .. [1] S. Särkkä, Á. F. García-Fernández, arXiv:2104.03186 (2021).
    """
    comm = private(comm, "solve(comm=...)")
    with agreeing(comm, "solve") as ranks:
        check_kind("solve", "problem", problem, LinearQuadratic, "a `LinearQuadratic`")
        check_choice("solve", "method", method, ("auto", "riccati", "scan"))
        check_choice("solve", "backend", backend, ("auto", "numpy", "compiled"))
        steps = regularised(problem.matrices, levenberg, metric)
        ranks.same = {
            "method": method,
            "backend": backend,
            "levenberg": float(levenberg),
            "sizes": problem.sizes,
            "initial": problem.first,
            "Q_end, q_end, parameters": problem.end,
        }
    counts = comm.allgather(len(steps.F))
    with agreeing(comm, "solve"):
        if sum(counts) == 0:
            raise ValueError("`solve(problem=...)` must have a step, got none on any rank.")
        engine = _engine(method, backend, sum(counts), steps.F.shape[1:])
    with ending_all_ranks(comm):
        return _Ranks(engine, comm, counts).solution(problem, steps)


def _engine(method: str, backend: str, N: int, shape: tuple[int, ...]) -> ModuleType:
    """Return the module with the passes."""
    e, z = shape
    small = N >= _COMPILED_FROM and z <= _LARGEST_COMPILED
    if method != "scan" and (backend == "compiled" or (backend == "auto" and small)):
        try:
            return importlib.import_module("pint.lq.kernels")
        except ImportError as error:
            if backend == "compiled":
                raise ImportError(
                    "`solve(backend=...)`: compiled code needs numba: install the extra "
                    f'`compiled` (pip install "pint-control[compiled]") ({error}).'
                ) from error
    if method == "scan" or (method == "auto" and N >= _SCAN_FROM and e <= _LARGEST_SCANNED):
        return scan
    return riccati


class _Part(NamedTuple):
    """What a rank tells all others about its steps.

    Attributes
    ----------
    element : Element
        For value functions at its end less `reference`.
    pivot : float
    failed : int
        As those of `Backward`; the step is counted from the first of all ranks.
    reference : numpy.ndarray of shape (e, e)
    """

    element: Element
    pivot: float
    failed: int
    reference: np.ndarray


class _Ranks:
    """The ranks that share the steps.

    Parameters
    ----------
    engine : module
        `riccati`, `scan` or `kernels`.
    comm : communicator
    counts : list of int
        Number of steps of each rank.
    """

    def __init__(self, engine: Any, comm: Any, counts: list[int]) -> None:
        self.engine, self.comm = engine, comm
        self.holders = [rank for rank, count in enumerate(counts) if count]
        self.first = sum(counts[: comm.rank])
        # Runs of steps to the left of this rank's begin and end
        self.left = sum(rank < comm.rank for rank in self.holders)
        self.right = self.left + (comm.rank in self.holders)

    def solution(self, problem: LinearQuadratic, steps: Steps) -> Solution:
        """Return the solution. Collective."""
        own = part = None
        if self.comm.rank == self.holders[-1]:
            own = self.engine.backward(steps, problem.end)
            nothing = np.zeros_like(problem.end)
            part = _Part(Element(nothing, nothing, own.V[0]), *self._named(own), problem.end)
        elif self.comm.rank in self.holders:
            part = self._condensed(steps, problem.end)
        values, moves = self._combined(steps, problem.end, part)
        start, objective = _start(values[0], problem.first, steps.n)
        if own is None:
            own = self.engine.backward(steps, values[self.right])
        for move in moves[: self.left]:
            start = move @ start
        z, u = start[None], np.empty((0, steps.H.shape[1] - len(start)))
        if own.failed < 0 and self.left < self.right:
            z, u = self.engine.forward(steps, own.K, start)
        ends = self.comm.allgather((*self._named(own), z[-1]))
        pivot, failed, _ = max(ends, key=lambda end: end[1])
        if failed >= 0:
            raise alike(_indefinite(pivot, failed))
        if not all(np.isfinite(end[2]).all() for end in ends):
            raise alike(
                NotFiniteError(
                    "the optimal states of `solve(problem=...)` go beyond the largest float: its "
                    "dynamics are unstable, and neither controls nor cost hold them."
                )
            )
        if self.left == self.right and self.left:
            z = ends[self.holders[self.left - 1]][2][None]
        smallest = min(end[0] for end in ends)
        return Solution(z, u, own.V, own.K, steps.n, objective, smallest)

    def _named(self, own: Backward) -> tuple[float, int]:
        """Return pivot and failed step, counted from the first step of all ranks."""
        return own.pivot, own.failed if own.failed < 0 else own.failed + self.first

    def _condensed(self, steps: Steps, end: np.ndarray) -> _Part:
        """Return this rank's steps as one matrix.

        The value function at its end is not known yet. The element counts from another one in its
        place: zero where each step has a minimum of its own, else a larger one. Where the controls
        cost next to nothing, that loses digits; the value function that a pass over half of the
        steps arrives at is a better guess.
        """
        n = steps.n
        size = max(np.abs(part).max() for part in (end, steps.H[:, :n, :n], steps.H[-1]))
        for guess in (np.zeros((n, n)), end[:n, :n], *(size * k * np.eye(n) for k in (1.0, 1e3))):
            part = self._condensed_from(guess, steps, end)
            if part.failed < 0:
                break
        C, J = part.element.C, part.element.J
        if part.failed < 0 and np.abs(C).max() * np.abs(J[:n, :n]).max() > _MANY:
            half = steps._replace(F=steps.F[len(steps.F) // 2 :], H=steps.H[len(steps.H) // 2 :])
            guess = self._condensed_from(guess, half, end).element.J[:n, :n]
            better = self._condensed_from(guess, steps, end)
            part = better if better.failed < 0 else part
        return part

    def _condensed_from(self, guess: np.ndarray, steps: Steps, end: np.ndarray) -> _Part:
        reference = np.zeros_like(end)
        reference[: steps.n, : steps.n] = guess
        element, pivot, failed = self.engine.condensed(steps, reference)
        return _Part(element, pivot, failed if failed < 0 else failed + self.first, reference)

    def _combined(
        self, steps: Steps, end: np.ndarray, part: _Part | None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the value functions between the ranks' runs, and the matrices that move z along.

        Collective. A run that has no minimum of its own is condensed again, when the value
        function at its end is known: then it has one, or the whole problem has none.
        """
        parts = [found for found in self.comm.allgather(part) if found is not None]
        values: list[np.ndarray] = [end]
        moves: list[np.ndarray] = []
        for run in reversed(range(len(parts))):
            if parts[run].failed >= 0:
                mine = self.left == run < self.right
                value = values[0][: steps.n, : steps.n]
                again = self._condensed_from(value, steps, end) if mine else None
                parts[run] = self.comm.allgather(again)[self.holders[run]]
            if parts[run].failed >= 0:
                raise alike(_indefinite(parts[run].pivot, parts[run].failed))
            try:
                value, move = after(parts[run].element, values[0] - parts[run].reference)
            except np.linalg.LinAlgError as error:
                raise alike(_indefinite(0.0, None)) from error
            values, moves = [value, *values], [move, *moves]
        return values, moves


def _start(V: np.ndarray, first: np.ndarray | None, n: int) -> tuple[np.ndarray, float]:
    """Return the optimal first z and the least cost."""
    if first is None:
        first = -_solved(V[:n, :n], V[:n, n:], "the free first state")
    Z = np.vstack([first, np.eye(first.shape[1])])
    W = Z.T @ V @ Z
    shared = np.ones(len(W))
    if len(W) > 1:
        shared[1:] = -_solved(W[1:, 1:], W[1:, 0], "the shared parameters")
    return Z @ shared, float(shared @ W @ shared / 2)


def _solved(matrix: np.ndarray, right: np.ndarray, what: str) -> np.ndarray:
    """Solve with a Hessian; NotPositiveDefiniteError if it is not positive definite."""
    factor, solved, info = dposv(matrix, right, lower=1)
    if info or not (factor.diagonal() ** 2 > LEAST_PIVOT * matrix.diagonal()).all():
        least = float(np.linalg.eigvalsh(matrix)[0]) if np.isfinite(matrix).all() else np.nan
        raise alike(
            NotPositiveDefiniteError(
                f"the reduced Hessian of {what} is not positive definite, its smallest eigenvalue "
                f"is {least:.3g}: add to its diagonal.",
                None,
                least,
            )
        )
    return solved


def _indefinite(pivot: float, step: int | None) -> NotPositiveDefiniteError:
    where = "" if step is None else f" of step {step}"
    return NotPositiveDefiniteError(
        f"R + B^T P B{where} is not positive definite, its smallest pivot or eigenvalue is "
        f"{pivot:.3g}: add to the diagonals of R by `solve(levenberg=...)`.",
        step,
        pivot,
    )
