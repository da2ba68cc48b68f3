"""Regularisers on the control: size (Tikhonov) and change in time (smoothness)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from pint.controls.control import Control
from pint.errors import number, shown


class Regulariser(ABC):
    """A term R(u, theta) of the objective that depends on the control alone."""

    @abstractmethod
    def value(self, control: Control) -> float:
        """Return R, the same number on every rank. Collective."""

    @abstractmethod
    def derivative(self, control: Control) -> Control:
        """Return dR as a dual vector (no Riesz map). Collective."""


def _names(owner: str, fields: Iterable[str]) -> tuple[str, ...]:
    """Return a user's names of fields, or raise TypeError."""
    found = [fields] if isinstance(fields, str) or not isinstance(fields, Iterable) else fields
    names = tuple(found)
    if isinstance(fields, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"`{owner}(fields=...)` must be a sequence of names of fields, got {shown(fields)}."
        )
    return names


def _check_fields(name: str, fields: Sequence[str], allowed: Collection[str], kind: str) -> None:
    for field in fields:
        if field not in allowed:
            raise ValueError(
                f"`{name}(fields=...)` names `{field}`, which is no {kind}field of the control; "
                f"these are {list(allowed)}."
            )


class Tikhonov(Regulariser):
    """``gamma/2 sum_n dt_n |u_n|^2`` for time-dependent fields, ``gamma/2 |theta|^2`` for shared.

    Parameters
    ----------
    gamma : float
        Weight.
    fields : sequence of str
        Names of the fields it acts on.
    """

    def __init__(self, gamma: float, fields: Sequence[str]) -> None:
        self.gamma = number("Tikhonov", "gamma", gamma)
        self.fields = _names("Tikhonov", fields)

    def value(self, control: Control) -> float:
        return 0.5 * control.space.pair(self.derivative(control), control)

    def derivative(self, control: Control) -> Control:
        _check_fields("Tikhonov", self.fields, control.space.fields, "")
        result = control.space.zeros()
        for name in self.fields:
            values = control[name]
            if name in control.space.time_fields:
                dt = control.space.grid.dt.reshape((-1,) + (1,) * (values.ndim - 1))
                result[name][...] = self.gamma * dt * values
            else:
                result[name][...] = self.gamma * values
        return result


class Smoothness(Regulariser):
    """``gamma/2 sum_{n>=1} h_n |(u_n - u_{n-1}) / h_n|^2`` for time-dependent fields.

    h_n is the time between the midpoints of steps n - 1 and n; dt on a uniform grid.

    Parameters
    ----------
    gamma : float
        Weight.
    fields : sequence of str
        Names of the time-dependent fields it acts on.
    """

    def __init__(self, gamma: float, fields: Sequence[str]) -> None:
        self.gamma = number("Smoothness", "gamma", gamma)
        self.fields = _names("Smoothness", fields)

    def _slopes(self, control: Control, name: str) -> tuple[int, np.ndarray, np.ndarray]:
        """Return n and the jumps u_n - u_{n-1} and slopes jump / h_n from that step n on.

        They are those between this rank's steps and to its neighbours' nearest steps.
        """
        grid = control.space.grid
        _check_fields("Smoothness", self.fields, control.space.time_fields, "time-dependent ")
        halo = control.space.neighbours
        blocks, first = halo.extend(control[name]), control.space.grid.first - len(halo.before)
        jumps = np.diff(blocks, axis=0)
        t = grid.t[first : first + len(blocks) + 1]
        h = np.diff(0.5 * (t[1:] + t[:-1]))
        return first + 1, jumps, jumps / h.reshape((-1,) + (1,) * (jumps.ndim - 1))

    def value(self, control: Control) -> float:
        grid, total = control.space.grid, 0.0
        for name in self.fields:
            first, jumps, slopes = self._slopes(control, name)
            own = slice(0, max(grid.last - first, 0))  # the jump to the right is the neighbour's
            total += control.space.total(name, float(np.vdot(slopes[own], jumps[own])))
        return 0.5 * self.gamma * total

    def derivative(self, control: Control) -> Control:
        grid, result = control.space.grid, control.space.zeros()
        for name in self.fields:
            first, _, slopes = self._slopes(control, name)
            target = result[name]
            for n, slope in ((first, slopes), (first - 1, -slopes)):
                skipped = max(grid.first - n, 0)
                own = slope[skipped : max(grid.last - n, 0)]
                start = n + skipped - grid.first
                target[start : start + len(own)] += self.gamma * own
        return result
