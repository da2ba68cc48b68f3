"""A control that is piecewise linear in time, with bounds: its values at nodes as parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from pint.controls import SharedControl, TimeControl
from pint.errors import check_kind, real_array, shown
from pint.grid import Steps
from pint.interface import Fields, Problem
from pint.steppers.changed import Change, Result, changed


def hat_functions(
    problem: Problem, name: str, nodes: Any, lower: Any = None, upper: Any = None
) -> Problem:
    """Return a problem whose control `name` is a continuous, piecewise linear function of time.

    The field becomes a `SharedControl` of shape ``(M, *shape)``, the values at M nodes; a step
    takes the value at its midpoint, as do steps of coarse levels. Where the values at the nodes
    are within bounds, so is the function. The inner product has the lumped mass matrix of the hat
    functions: the gradient is that of a function of time, whatever the nodes are.

    Parameters
    ----------
    problem : Problem
    name : str
        Of a `TimeControl` without bounds of its own and with ``every=1``.
    nodes : array of shape (M,)
        Increasing times. Before the first and after the last one the function is constant.
    lower, upper : array_like, optional
        Bounds of the values, broadcast to ``(M, *shape)``: they may differ from node to node.

    Returns
    -------
    Problem
        Terms of regularisers that name the field act on the values at the nodes.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or the field has bounds or another mesh.
    """
    check_kind("hat_functions", "problem", problem, Problem, "a `pint.Problem`")
    field = problem.controls.get(name) if isinstance(name, str) else None
    if not isinstance(field, TimeControl):
        raise ValueError(
            f"`hat_functions(name=...)` must be a `TimeControl` of the problem, got {shown(name)}."
        )
    if field.bounded or field.every > 1 or field.distributed or field.matrix is not None:
        raise ValueError(
            f"`hat_functions(name={name!r})`: the field must be whole on each rank and have "
            "every=1, no matrix as its metric, and no bounds: give them here, as `lower`, `upper`."
        )
    times = real_array("hat_functions(nodes=...)", nodes)
    if times.ndim != 1 or len(times) < 2 or not (np.diff(times) > 0).all():
        raise ValueError("`hat_functions(nodes=...)` must be at least 2 increasing times.")
    gaps = 0.5 * np.diff(times)
    masses = np.append(gaps, 0.0) + np.append(0.0, gaps)  # the integrals of the hat functions
    size = int(np.prod(field.shape, dtype=int))
    nodal = SharedControl(
        (len(times), *field.shape),
        _at_nodes("lower", lower, len(times), field.shape),
        _at_nodes("upper", upper, len(times), field.shape),
        field.weight,
        metric=scipy.sparse.diags(np.repeat(masses, size)),
    )
    times.flags.writeable = False
    return changed(problem, _Hats(name, times), {**problem.controls, name: nodal})


def _at_nodes(side: str, bound: Any, count: int, shape: tuple[int, ...]) -> Any:
    """Return a bound for all nodes: one for each node, or one for all."""
    if bound is None:
        return None
    values = real_array(f"hat_functions({side}=...)", bound)
    if values.ndim == 1 and len(values) == count and values.shape != shape:
        values = values.reshape(count, *(1,) * len(shape))
    return values


@dataclass(frozen=True, eq=False)
class _Hats(Change):
    """Interpolation between values at nodes.

    Attributes
    ----------
    name : str
        Of the field.
    nodes : array of shape (M,)
    """

    name: str
    nodes: np.ndarray

    def _places(self, s: Steps) -> tuple[Any, Any]:
        """Return the node before the midpoint of each step, and the share of the next one."""
        middle = np.real(np.reshape(0.5 * (np.asarray(s.t0) + s.t1), np.shape(s.index)))
        left = np.clip(np.searchsorted(self.nodes, middle) - 1, 0, len(self.nodes) - 2)
        share = (middle - self.nodes[left]) / (self.nodes[left + 1] - self.nodes[left])
        return left, np.clip(share, 0.0, 1.0)

    def arguments(self, s: Steps, u: Fields, theta: Fields) -> tuple[Steps, Fields, Fields]:
        values, (left, share) = theta[self.name], self._places(s)
        share = np.reshape(share, np.shape(share) + (1,) * (values.ndim - 1))
        blocks = (1 - share) * values[left] + share * values[left + 1]
        return s, {**u, self.name: blocks}, self.shared(theta)

    def shared(self, theta: Fields) -> Fields:
        return {name: values for name, values in theta.items() if name != self.name}

    def derivatives(
        self,
        s: Steps,
        u: Fields,
        theta: Fields,
        du: Fields,
        dtheta: Fields,
        name: str,
        result: Result,
        weights: Any,
    ) -> tuple[Fields, Fields]:
        if self.name not in du:
            return du, dtheta
        blocks, (left, share) = np.asarray(du[self.name]), self._places(s)
        share = np.reshape(share, np.shape(share) + (1,) * (blocks.ndim - np.ndim(share)))
        values = np.zeros(theta[self.name].shape, blocks.dtype)
        np.add.at(values, left, (1 - share) * blocks)
        np.add.at(values, left + 1, share * blocks)
        rest = {name: value for name, value in du.items() if name != self.name}
        return rest, {**dtheta, self.name: values}
