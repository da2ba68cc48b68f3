"""Data of heat-control problems: a target of zero, and data whose optimum is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from problems.heat.equation import Coordinates, Heat, HeatData


def zero_target(heat: Heat, coordinates: Coordinates | None = None) -> HeatData:
    """Return y_0 = prod sin(pi x_i) (cos(pi x) with Neumann conditions), f = 0, y_d = 0.

    The functions give values at `coordinates`, by default ``heat.coordinates``.
    """
    mode = _mode(heat, coordinates or heat.coordinates)

    def zero(t: Any) -> np.ndarray:
        return 0.0 * t + np.zeros_like(mode)

    return HeatData(mode, zero, zero)


def manufactured(heat: Heat, final_time: float, coordinates: Coordinates | None = None) -> HeatData:
    """Return data whose continuous optimum is known.

    With s = prod sin(pi x_i) and mu = nu d pi^2, the optimality system
    ``y_t = nu Laplace(y) + f + u``, ``-lam_t = nu Laplace(lam) + y - y_d``, ``alpha u + lam = 0``
    of distributed control has the solution ``y = s cos(pi t / 2T)``,
    ``lam = alpha (1 - t/T) s``. With Neumann control and c = cos(pi x):
    ``lam = alpha (1 - t/T) c``, ``u = -lam(1, t) / alpha = 1 - t/T`` and
    ``y = c cos(pi t / 2T) + (1 - t/T) x^2 / (2 nu)``. With initial control, f = 0 and y_d = s:
    ``u = e s / (e^2 + alpha)``, e = exp(-mu T).
    """
    coordinates = coordinates or heat.coordinates
    T, nu, alpha, mode = final_time, heat.nu, heat.alpha, _mode(heat, coordinates)
    mu = nu * heat.dimension * np.pi**2
    omega = np.pi / (2 * T)
    distributed = heat.control == "distributed"
    if heat.control == "initial":
        decay = np.exp(-mu * T)
        optimal = decay / (decay**2 + alpha) * mode
        return HeatData(
            mode,
            lambda t: 0.0 * t + np.zeros_like(mode),
            lambda t: 0.0 * t + mode,
            lambda t: np.exp(-mu * t) * optimal,
            lambda t: optimal,
        )
    bump = 0.0 if distributed else coordinates[0] ** 2 / (2 * nu)

    def state(t: Any) -> np.ndarray:
        return mode * np.cos(omega * t) + (1 - t / T) * bump

    def control(t: Any) -> np.ndarray:
        return -(1 - t / T) * mode if distributed else 1 - t / T + np.zeros(1)

    def source(t: Any) -> np.ndarray:
        rate = -omega * np.sin(omega * t) * mode - bump / T
        diffusion = -mu * np.cos(omega * t) * mode + (0.0 if distributed else 1 - t / T)
        return rate - diffusion - (control(t) if distributed else 0.0)

    def target(t: Any) -> np.ndarray:
        return state(t) - alpha * (1 / T + mu * (1 - t / T)) * mode

    return HeatData(state(0.0), source, target, state, control)


def _mode(heat: Heat, coordinates: Coordinates) -> np.ndarray:
    """Return the lowest non-constant eigenvector of the Laplacian."""
    wave = np.cos if heat.control == "neumann" else np.sin
    return np.prod([wave(np.pi * x) for x in coordinates], axis=0)
