"""The derivative of a time step along changes of its arguments: what a user may implement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pint.grid import Steps
from pint.interface.fields import Fields


class Tangent(ABC):
    """The derivatives of one `TimeStepper` along directions; batched like it.

    A problem does without one: derivatives are then taken numerically, see `Problem`. Define it
    if that is slow, or not exact enough.
    """

    @abstractmethod
    def jvp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, dy: Any, du: Fields, dtheta: Fields
    ) -> Any:
        """Return ``Phi_y dy + Phi_u du + Phi_theta dtheta``, of the shape of a state.

        Phi is linearised at (y, u, theta), y being the state at ``s.t0``. Never changes its
        arguments.

        Parameters
        ----------
        s, y, u, theta
            As in `TimeStepper.step`. If ``s.kept`` is not None, it holds what the step kept. If
            ``s.guess`` is not None, it is near the state at ``s.t1``.
        dy : state, or batch of states
        du, dtheta : mapping of str to array
            Changes of all fields, shaped as `u` and `theta`.
        """

    def second_vjp(
        self,
        s: Steps,
        y: Any,
        u: Fields,
        theta: Fields,
        lam: Any,
        dy: Any,
        du: Fields,
        dtheta: Fields,
    ) -> tuple[Any, Fields, Fields]:
        """Return the derivative of `Adjoint.vjp` along (dy, du, dtheta), at the same `lam`.

        It is shaped as the results of `Adjoint.vjp`. Optional: full Hessian products take central
        differences of `Adjoint.vjp` otherwise.
        """
        raise NotImplementedError

    def initial_jvp(self, theta: Fields, dtheta: Fields) -> Any:
        """Return ``(dy_0/dtheta) dtheta``, a state.

        Optional: `TimeStepper.initial` is differentiated numerically otherwise.
        """
        raise NotImplementedError

    def coarsen(self, level: int) -> Tangent:
        """Return the tangent of the stepper of a coarser level; by default this one."""
        return self
