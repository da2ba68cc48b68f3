"""A control as methods are given it whose states are no arrays of numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pint.controls.control import Control
from pint.states import StateSpace


@dataclass(frozen=True, eq=False)
class Lifted:
    """The fields of a control in arrays of a space's kind, or places to add derivatives to.

    Attributes
    ----------
    control : Control
        What they were made of.
    space : StateSpace
    time, shared : dict of str to array
        As those of a `Control`.
    """

    control: Control
    space: StateSpace
    time: Mapping[str, Any]
    shared: Mapping[str, Any]

    @classmethod
    def of(cls, control: Control, space: StateSpace, sums: bool = False) -> Lifted:
        """Return the fields of a control; with `sums`, places that hold a derivative."""
        time, shared = (
            {name: space.lift(values, sums) for name, values in fields.items()}
            for fields in (control.time, control.shared)
        )
        return cls(control, space, time, shared)

    def copy(self) -> Lifted:
        """Return the same with arrays of its own."""
        time, shared = (
            {name: 1.0 * values for name, values in fields.items()}
            for fields in (self.time, self.shared)
        )
        return Lifted(self.control, self.space, time, shared)

    def collected(self) -> Control:
        """Return a control, on the host, of the numbers that the arrays hold."""
        control = self.control.space.zeros()
        for name, values in (*self.time.items(), *self.shared.items()):
            control[name][...] = self.space.as_array(values)
        return control


def on_host(fields: Control | Lifted) -> Control:
    """Return a control of arrays of numpy, the same object where it is one."""
    return fields.collected() if isinstance(fields, Lifted) else fields
