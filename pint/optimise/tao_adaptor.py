"""The gradient-based methods of PETSc's TAO; imports petsc4py, once it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pint.optimise.scaled_layout import Bounds, Evaluate, Product, Record, Stop

WITH_BOUNDS = ("blmvm", "bqnls", "bncg", "bnls", "bntr")
NEAR_BOUNDS = ()
WITHOUT_BOUNDS = ("lmvm", "cg", "nls", "ntr")
WITH_PRODUCTS = ("nls", "ntr", "bnls", "bntr")

LIMITS = (-2, -5)
"""TAO_DIVERGED_MAXITS and TAO_DIVERGED_MAXFCN."""


def require() -> None:
    """Raise ImportError unless petsc4py is installed."""
    try:
        import petsc4py.PETSc  # noqa: F401  (optional)
    except ImportError as error:
        raise ImportError(
            "`External(method='tao:...')` needs petsc4py: install pint-control[petsc]."
        ) from error


def optimise(
    name: str,
    options: Mapping[str, Any],
    evaluate: Evaluate,
    record: Record,
    product: Product,
    start: np.ndarray,
    bounds: Bounds | None,
) -> bool:
    """Run a method of TAO in this process. Not collective.

    TAO's own stopping tests are switched off, except by options. Options of PETSc with the prefix
    ``pint_`` count as well. Returns whether the method has ended by a test of TAO's. ValueError if
    it refuses an option.

    Parameters
    ----------
    name : str
        One of `WITH_BOUNDS`, or without bounds of `WITHOUT_BOUNDS`.
    options : mapping
        Options of PETSc without prefix and hyphen, such as ``{"tao_max_it": 3}``.
    evaluate, record, product, start, bounds
        As for `pint.optimise.scaled_layout.Optimiser`.
    """
    from petsc4py import PETSc

    # A copy, since TAO works in place.
    x = PETSc.Vec().createWithArray(start.copy(), comm=PETSc.COMM_SELF)
    vectors = [x.duplicate() for _ in range(3)]
    tao = PETSc.TAO().create(PETSc.COMM_SELF)
    tao.setType(name)

    def objective_gradient(tao: Any, x: Any, gradient: Any) -> float:
        value, derivative = evaluate(x.array_r)
        gradient.array[:] = derivative
        return float(value)

    # Not a convergence test: that would take the place of TAO's, which options may ask for.
    def monitor(tao: Any) -> None:
        if record(tao.getSolution().array_r):
            raise Stop

    tao.setObjectiveGradient(objective_gradient, vectors[0])
    hessian = _Hessian(product)
    matrix = PETSc.Mat().createPython(len(start), hessian, comm=PETSc.COMM_SELF)
    matrix.setUp()
    if name in WITH_PRODUCTS:
        tao.setHessian(hessian.move, matrix)
        tao.getKSP().getPC().setType("none")  # there are no entries to make one of
    tao.setMonitor(monitor)
    # Our stopping test decides, as with scipy.
    tao.setTolerances(gatol=0.0, grtol=0.0, gttol=0.0)
    tao.setMaximumIterations(10**9)
    tao.setMaximumFunctionEvaluations(10**9)
    if bounds is not None:
        for vector, bound in zip(vectors[1:], bounds, strict=True):
            # PETSc's infinity is a finite number.
            vector.array[:] = np.clip(bound, PETSc.NINFINITY, PETSc.INFINITY)
        tao.setVariableBounds(vectors[1], vectors[2])
    ended = False
    try:
        _set_options(tao, name, options)
        with contextlib.suppress(Stop):
            tao.solve(x)
            ended = tao.getConvergedReason() > 0 or tao.getConvergedReason() in LIMITS
    finally:
        for thing in (tao, matrix, x, *vectors):
            thing.destroy()
    return ended


class _Hessian:
    """The context of a matrix of PETSc whose products are those with the Hessian."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.at, self.added = np.empty(0), 0.0

    def move(self, tao: Any, x: Any, matrix: Any, preconditioner: Any) -> None:
        """Take the matrix of another point."""
        self.at, self.added = np.array(x.array_r), 0.0

    def shift(self, matrix: Any, amount: float) -> None:
        """Add a multiple of the identity, where the Hessian is not positive definite."""
        self.added += amount

    def mult(self, matrix: Any, x: Any, result: Any) -> None:
        """Write a product, in place."""
        result.array[:] = self.product(self.at, x.array_r) + self.added * x.array_r


def _set_options(tao: Any, name: str, options: Mapping[str, Any]) -> None:
    """Set the options of a TAO object, in place; PETSc's database stays as it is."""
    from petsc4py import PETSc

    tao.setOptionsPrefix("pint_")
    database = PETSc.Options("pint_")
    before = {key: database.getAll().get(key) for key in options}
    try:
        for key, value in options.items():
            database[key] = value
        tao.setFromOptions()
    except (PETSc.Error, TypeError) as error:
        reason = " ".join(str(error).split("[0] ")[-1].split())
        raise ValueError(
            f"`External(options=...)`: TAO's {name} fails with the options {', '.join(options)}: "
            f"{reason}"
        ) from error
    finally:
        for key, old in before.items():
            if old is not None:
                database[key] = old
            elif key in database:
                database.delValue(key)
