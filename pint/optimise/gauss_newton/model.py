"""The linear-quadratic problem of an iteration, and what its solution means."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.controls import Control, Smoothness
from pint.lq import LinearQuadratic, NotPositiveDefiniteError, SharedParameters, solve
from pint.optimise.gauss_newton.shooting import Shooting, Slopes


@dataclass(frozen=True, eq=False)
class Linearised:
    """All first derivatives at states and control; each rank has its own steps.

    Attributes
    ----------
    A, B, C : ndarray of shape (N, n, n), (N, n, m), (N, n, p)
        Of the steps.
    start : ndarray of shape (n, p)
        dy_0/dtheta.
    defects : ndarray of shape (N, n)
        ``Phi_n(y_n) - y_{n+1}``.
    cost : Slopes
        Of the step costs, times the slope of the outer function.
    end, end_theta : ndarray of shape (n,), (p,)
        Of the terminal cost, the same on all ranks.
    regularisers : ndarray
        A vector of the space.
    scale : float
        The slope of the outer function.
    """

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    start: np.ndarray
    defects: np.ndarray
    cost: Slopes
    end: np.ndarray
    end_theta: np.ndarray
    regularisers: np.ndarray
    scale: float


def defects_of(shooting: Shooting, y: np.ndarray, control: Control) -> tuple[Any, Any]:
    """Return the defects of this rank's steps and of the initial state. Collective."""
    defects = shooting.next_states(y, control) - y[1:]
    initial = shooting.initial(control) - y[0] if shooting.first else np.zeros(shooting.states)
    return defects, np.asarray(reduce(shooting.comm, initial))


def linearised(
    shooting: Shooting, y: np.ndarray, control: Control, defects: tuple[Any, Any] | None = None
) -> Linearised:
    """Return the derivatives at states and control. Collective."""
    A, B = shooting.jacobians(y, control)
    own, _ = defects_of(shooting, y, control) if defects is None else defects
    scale = shooting.outer_slope(y, control)
    cost = shooting.slopes(y[:-1], y[1:], control)
    end, end_theta = np.zeros(shooting.states), np.zeros(shooting.parameters)
    if shooting.last:
        end, end_theta = shooting.terminal_slopes(y[-1], control)
    both = scale * np.asarray(reduce(shooting.comm, np.concatenate([end, end_theta])))
    return Linearised(
        A=A,
        B=B,
        C=shooting.of_theta(y, control),
        start=shooting.initial_of_theta(control),
        defects=own,
        cost=Slopes(*(scale * part for part in (cost.y0, cost.y1, cost.u, cost.theta))),
        end=both[: shooting.states],
        end_theta=both[shooting.states :],
        regularisers=shooting.regularisers(control)[0],
        scale=scale,
    )


@dataclass(frozen=True, eq=False)
class Hessians:
    """Second derivatives of the Lagrangian; the constraints' are part of `steps` if wanted.

    Attributes
    ----------
    steps : ndarray of shape (N, n + m + p, n + m + p)
        In (y_n, u_n, theta) where y_{n+1} is replaced by the linearised step; that of theta alone
        in the first step.
    slopes : ndarray of shape (N, n + m + p)
        First derivatives, likewise.
    end : ndarray of shape (n + p, n + p)
        The same on all ranks.
    diagonal : ndarray
        Of the regularisers, a vector of the space.
    """

    steps: np.ndarray
    curvature: np.ndarray | None
    slopes: np.ndarray
    end: np.ndarray
    diagonal: np.ndarray


def hessians(
    shooting: Shooting,
    y: np.ndarray,
    control: Control,
    lin: Linearised,
    lam: np.ndarray | None,
) -> Hessians:
    """Return the second derivatives, with those of the steps at multipliers `lam`. Collective."""
    n, m, p, N = shooting.states, shooting.inputs, shooting.parameters, shooting.steps
    H = lin.scale * shooting.cost_hessian(y, control)
    k = n + m + p
    M = np.zeros((N, 2 * n + m + p, k))
    M[:, :n, :n] = np.eye(n)
    M[:, n : 2 * n, :n], M[:, n : 2 * n, n : n + m], M[:, n : 2 * n, n + m :] = lin.A, lin.B, lin.C
    M[:, range(2 * n, 2 * n + m + p), range(n, k)] = 1.0
    g = np.concatenate([lin.cost.y0, lin.cost.y1, lin.cost.u, np.zeros((N, p))], axis=1)
    g += np.einsum("kij,kj->ki", H[:, :, n : 2 * n], lin.defects)
    Mt = np.swapaxes(M, 1, 2)
    steps = Mt @ (H @ M)
    curvature = None if lam is None else shooting.curvature(y, control, lam)
    end = lin.scale * shooting.terminal_hessian(y, control)  # zero but on the last rank
    return Hessians(
        steps=steps,
        curvature=curvature,
        slopes=(Mt @ g[:, :, None])[:, :, 0],
        end=np.asarray(reduce(shooting.comm, end.ravel())).reshape(n + p, n + p),
        diagonal=shooting.regularisers(control)[1],
    )


@dataclass(frozen=True, eq=False)
class Direction:
    """A step: changes of states, controls and shared numbers; new multipliers; gains."""

    y: np.ndarray
    vector: np.ndarray
    multipliers: np.ndarray
    gains: np.ndarray


def direction(
    shooting: Shooting,
    lin: Linearised,
    second: Hessians,
    barrier_slope: np.ndarray,
    barrier_diagonal: np.ndarray,
    weight: float,
    defects: tuple[Any, Any],
    part: float = 1.0,
) -> Direction:
    """Return the minimum of the linear-quadratic model. Collective.

    Parameters
    ----------
    barrier_slope, barrier_diagonal : ndarray
        Vectors of the space: first and second derivatives of the barrier.
    weight : float
        Added to all Hessians, times step sizes: makes the problem convex.
    defects : tuple
        Those to be removed.

    Raises
    ------
    NotPositiveDefiniteError
        If the problem has no minimum.
    """
    n, m, p = shooting.states, shooting.inputs, shooting.parameters
    x, u, th = slice(n), slice(n, n + m), slice(n + m, None)
    steps, slopes = second.steps, second.slopes.copy()
    if second.curvature is not None and part:
        steps = steps + part * second.curvature
    dt = shooting.grid.dt[:, None]
    explicit = lin.regularisers + barrier_slope
    diagonal = second.diagonal + barrier_diagonal + weight * shooting.space.weights
    slopes[:, u] += shooting.matrix(explicit)
    Q, R = steps[:, x, x].copy(), steps[:, u, u].copy()
    Q[:, range(n), range(n)] += weight * dt
    R[:, range(m), range(m)] += shooting.matrix(diagonal)
    B, S, r, G = lin.B, steps[:, u, x], slopes[:, u], steps[:, th, u]
    if m == 0:  # shared parameters alone: a control that does nothing
        N = shooting.steps
        B, S, r = np.zeros((N, n, 1)), np.zeros((N, 1, n)), np.zeros((N, 1))
        R, G = np.ones((N, 1, 1)), np.zeros((N, p, 1))
    parameters = None
    if p:
        own = np.concatenate([slopes[:, th].sum(axis=0) + lin.cost.theta,
                              steps[:, th, th].sum(axis=0).ravel()])  # fmt: skip
        whole = np.asarray(reduce(shooting.comm, own))
        if not np.isfinite(whole).all():  # a sum of large numbers
            raise NotPositiveDefiniteError("the sums over all steps are not finite", None, math.nan)
        T = whole[p:].reshape(p, p) + second.end[n:, n:] + np.diag(shooting.shared(diagonal))
        t = whole[:p] + lin.end_theta + shooting.shared(explicit)
        parameters = SharedParameters(
            T=T, t=t, C=lin.C, C_initial=lin.start, E=steps[:, th, x], G=G,
            E_end=second.end[n:, :n],
        )  # fmt: skip
    problem = LinearQuadratic(
        A=lin.A, B=B, Q=Q, R=R, S=S, q=slopes[:, x], r=r, d=defects[0],
        Q_end=second.end[:n, :n], q_end=lin.end, initial=defects[1], parameters=parameters,
        steps=shooting.steps,
    )  # fmt: skip
    if any(isinstance(term, Smoothness) for term in shooting.calls.problem.regularisers):
        problem = _with_rates(problem, shooting.rates())
    solution = solve(problem, comm=shooting.comm)
    return Direction(
        solution.x[:, :n],
        shooting.vector(solution.u[:, :m], solution.theta),
        solution.multipliers[:, :n],
        solution.K[:, :m, :n],
    )


def _with_rates(problem: LinearQuadratic, rates: np.ndarray) -> LinearQuadratic:
    """Return the problem with ``rates_n |u_n - u_{n-1}|^2 / 2``: the last control is a state."""
    N, m = rates.shape
    n = problem.A.shape[-1]

    def wider(array: np.ndarray, *widths: int) -> np.ndarray:
        return np.pad(array, [(0, 0)] * (array.ndim - len(widths)) + [(0, w) for w in widths])

    weights = np.zeros((N, m, m))
    weights[:, range(m), range(m)] = rates
    B = np.concatenate([problem.B, np.broadcast_to(np.eye(m), (N, m, m))], axis=1)
    Q = wider(problem.Q, m, m)
    Q[:, n:, n:] = weights
    parameters = problem.parameters
    if parameters is not None:
        parameters = replace(
            parameters,
            C=wider(parameters.C, m, 0),
            C_initial=wider(parameters.C_initial, m, 0),
            E=wider(parameters.E, m),
            E_end=wider(parameters.E_end, m),
        )
    return LinearQuadratic(
        A=wider(problem.A, m, m), B=B, Q=Q, R=problem.R + weights,
        S=np.concatenate([problem.S, -weights], axis=2), q=wider(problem.q, m), r=problem.r,
        d=wider(problem.d, m), Q_end=wider(problem.Q_end, m, m), q_end=wider(problem.q_end, m),
        initial=wider(problem.initial, m), parameters=parameters, steps=N,
    )  # fmt: skip
