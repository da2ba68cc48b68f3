"""The gradient-based methods of PETSc's TAO; imports petsc4py, once it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pint.optimise.scaled_layout import Bounds, Evaluate, Record

WITH_BOUNDS = ("blmvm", "bqnls", "bncg")
WITHOUT_BOUNDS = ("lmvm", "cg")


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
    start: np.ndarray,
    bounds: Bounds | None,
) -> None:
    """Run a method of TAO in this process. Not collective.

    TAO's own stopping tests are switched off; options of PETSc with the prefix ``pint_`` set the
    rest.

    Parameters
    ----------
    name : str
        One of `WITH_BOUNDS`, or without bounds of `WITHOUT_BOUNDS`.
    options : mapping
        Empty: TAO has no such dictionary.
    evaluate, record, start, bounds
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

    def stopping_test(tao: Any) -> None:
        if record(tao.getSolution().array_r):
            tao.setConvergedReason(PETSc.TAO.Reason.CONVERGED_USER)

    tao.setObjectiveGradient(objective_gradient, vectors[0])
    tao.setConvergenceTest(stopping_test)
    # Our stopping test decides, as with scipy.
    tao.setMaximumIterations(10**9)
    tao.setMaximumFunctionEvaluations(10**9)
    if bounds is not None:
        for vector, bound in zip(vectors[1:], bounds, strict=True):
            # PETSc's infinity is a finite number.
            vector.array[:] = np.clip(bound, PETSc.NINFINITY, PETSc.INFINITY)
        tao.setVariableBounds(vectors[1], vectors[2])
    tao.setOptionsPrefix("pint_")
    tao.setFromOptions()
    tao.solve(x)
    for thing in (tao, x, *vectors):
        thing.destroy()
