"""Implicit steps with dense, banded and sparse Jacobians: Burgers' equation by finite differences.

CPU seconds of value and gradient at a new control, implicit Euler; by MGRIT on two levels (64
steps, m = 4, to a residual of 1e-10), and step after step. Jacobians are

- products: none is written, `ODE.jacobian` makes a dense one of products with unit vectors,
- dense: an array (B, n, n) by hand,
- banded: ``bands = (1, 1)`` and an array (B, 3, n),
- sparse: `sparsity` and an array (B, entries),
- bands alone: ``bands = (1, 1)``, of products with sums of unit vectors.

    python benchmarks/run_all.py sparse_theta [--quick]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from measuring import Row, options_of, print_table, save

import pint
from pint.steppers import ODE, scheme

STEPS = 64
LARGEST = {"products": 127, "dense": 511}
"""Points beyond which a kind of Jacobian takes minutes."""


class Burgers(ODE):
    """``y_t + y y_x = nu y_xx + u`` on (0, 1), y = 0 at both ends."""

    nu = 0.02

    def __init__(self, points: int) -> None:
        self.points, self.h = points, 1 / (points + 1)
        self.initial_state = np.sin(2 * np.pi * self.h * np.arange(1, points + 1))

    @staticmethod
    def around(y: Any) -> Any:
        zero = np.zeros_like(y[:, :1])
        return np.concatenate([zero, y, zero], axis=1)

    def f(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        w = self.around(y)
        diffusion = self.nu / self.h**2 * (w[:, 2:] - 2 * y + w[:, :-2])
        return diffusion - y * (w[:, 2:] - w[:, :-2]) / (2 * self.h) + u["u"]

    def f_vjp(self, t: Any, y: Any, u: Any, theta: Any, lam: Any) -> Any:
        w, m, p = self.around(y), self.around(lam), self.around(lam * y)
        diffusion = self.nu / self.h**2 * (m[:, 2:] - 2 * lam + m[:, :-2])
        transport = lam * (w[:, 2:] - w[:, :-2]) + p[:, :-2] - p[:, 2:]
        return diffusion - transport / (2 * self.h), {"u": lam}, {}

    def diagonals(self, y: Any) -> Any:
        """Return f_y, shape (B, 3, n)."""
        w, bands = self.around(y), np.empty((len(y), 3, self.points), y.dtype)
        near, far = self.nu / self.h**2, 1 / (2 * self.h)
        bands[:, 0, 1:] = near - y[:, :-1] * far
        bands[:, 1] = -2 * near - (w[:, 2:] - w[:, :-2]) * far
        bands[:, 2, :-1] = near + y[:, 1:] * far
        return bands


class Dense(Burgers):
    def jacobian(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        bands, n = self.diagonals(y), np.arange(self.points)
        matrix = np.zeros((len(y), self.points, self.points), y.dtype)
        matrix[:, n[:-1], n[1:]] = bands[:, 0, 1:]
        matrix[:, n, n] = bands[:, 1]
        matrix[:, n[1:], n[:-1]] = bands[:, 2, :-1]
        return matrix


class BandsAlone(Burgers):
    bands = (1, 1)


class Banded(BandsAlone):
    def jacobian(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        return self.diagonals(y)


class Sparse(Burgers):
    def __init__(self, points: int) -> None:
        super().__init__(points)
        ones = np.ones(points)
        self.sparsity = scipy.sparse.diags([ones[1:], ones, ones[1:]], [-1, 0, 1]).tocsr()
        places = self.sparsity.tocoo()
        self.places = 1 + places.row - places.col, places.col

    def jacobian(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        return self.diagonals(y)[(slice(None), *self.places)]


KINDS = {
    "products": Burgers,
    "dense": Dense,
    "banded": Banded,
    "sparse": Sparse,
    "bands alone": BandsAlone,
}


class Energy(pint.Objective):
    """``h / 2 sum y(T)^2``."""

    def __init__(self, h: float) -> None:
        self.h = h

    def terminal(self, y: Any, theta: Any) -> float:
        return 0.5 * self.h * float((y**2).sum())

    def terminal_derivative(self, y: Any, theta: Any) -> Any:
        return self.h * y, {}


def measured(kind: str, points: int, levels: int) -> tuple[float, Any]:
    """Return the CPU time of value and gradient, and the gradient."""
    ode = KINDS[kind](points)
    fields = {"u": pint.TimeControl(points)}
    problem = pint.Problem(*scheme(ode, "implicit-euler"), Energy(ode.h), fields)
    grid = pint.TimeGrid.uniform(1.0, STEPS, 4, levels)
    functional = pint.ReducedFunctional(problem, grid, accuracy=pint.Accuracy(40, relative=1e-10))
    control = functional.control(u=0.3)
    start = time.process_time()
    _, gradient = functional.value_and_gradient(control)
    return time.process_time() - start, gradient["u"]


def compared(points: int, levels: int, repeats: int) -> list[Row]:
    """Return a row for each kind of Jacobian, measured in turn."""
    kinds = [kind for kind in KINDS if points <= LARGEST.get(kind, points)]
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    gradients = {}
    for _ in range(repeats):
        for kind in kinds:
            seconds, gradients[kind] = measured(kind, points, levels)
            found[kind].append(seconds)
    for gradient in gradients.values():
        size = abs(gradients["dense"]).max()
        np.testing.assert_allclose(gradient, gradients["dense"], rtol=0, atol=1e-9 * size)
    medians = {kind: statistics.median(several) for kind, several in found.items()}
    how = "MGRIT, 2 levels" if levels == 2 else "step after step"
    return [
        {"solve": how, "points": points, "Jacobian": kind, "CPU seconds": spent,
         "dense takes": medians["dense"] / spent}
        for kind, spent in medians.items()
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print and save the table; all gradients must agree."""
    options = options_of(__doc__, arguments, repeats=3)
    rows: list[Row] = []
    for levels in (2, 1):
        for points in (15,) if options.quick else (127, 255, 511):
            rows += compared(points, levels, options.repeats)
    print_table(__doc__.splitlines()[0], rows)
    save("sparse_theta", rows, options.output)
    return rows


if __name__ == "__main__":
    main()
