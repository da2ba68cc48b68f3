"""The transposes of a time step's derivatives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pint.grid import Runs, Steps
from pint.interface.fields import Fields


class Adjoint(ABC):
    """The transposes of the derivatives of one `TimeStepper`; batched like it.

    Attributes
    ----------
    in_place : bool
        Whether `vjp`, and `step` if it is defined, take ``out=`` for ``Phi_y^T lam``.
    leaves_out : bool
        Whether `vjp` also takes ``out=False``: it may then return None in place of
        ``Phi_y^T lam``. This pays if that product is a large part of the cost, and `step` is
        defined, too.
    """

    in_place: bool = False
    leaves_out: bool = False

    @abstractmethod
    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        """Return ``Phi_y^T lam``, ``Phi_u^T lam`` and ``Phi_theta^T lam``.

        Phi is linearised at (y, u, theta), y being the state at ``s.t0``. Never changes its
        arguments.

        Parameters
        ----------
        s, y, u, theta
            As in `TimeStepper.step`. If ``s.kept`` is not None, it holds what the step kept. If
            ``s.guess`` is not None, it is near the state at ``s.t1``.
        lam : state, or batch of states
            The adjoint at ``s.t1``.
        out : state, or batch of states, optional
            Only with `in_place`: the method writes ``Phi_y^T lam`` there, and returns it first.

        Returns
        -------
        dy : state, or batch of states
        du : mapping of str to array
            By time-dependent field; with a leading axis of length B for a batch. A field left
            out has derivative zero.
        dtheta : mapping of str to array
            By shared field; summed over a batch. A field left out has derivative zero.
        """

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        """Return ``Phi_y^T lam`` alone; define it if that is cheaper than `vjp`.

        With `in_place` a step that is defined takes ``out=``, too.
        """
        return self.vjp(s, y, u, theta, lam)[0]

    def advance(
        self,
        s: Runs,
        y: Any,
        u: Fields,
        theta: Fields,
        start: Any,
        out: Any,
        rhs: Any = None,
        into: tuple[Fields, Fields] | None = None,
    ) -> None:
        """Take runs of transposed steps, from the end of each run to its beginning, in place.

        As `TimeStepper.advance`, which the stepper then defines, too. Row i of `y` is the state
        where step i begins, `start` the adjoint at the end of each run, row i of `out` the adjoint
        where step i begins. With `into`, places for the time-dependent and for the shared fields,
        the derivatives with respect to the control are added there.
        """
        raise NotImplementedError

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        """Return ``(dy_0/dtheta)^T lam0`` by field name; by default nothing depends on theta."""
        return {}

    def coarsen(self, level: int) -> Adjoint:
        """Return the adjoint of the stepper of a coarser level; by default this one."""
        return self
