"""The time step, which every problem has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from pint.grid import Runs, Steps
from pint.interface.fields import Fields
from pint.interface.tangent import Tangent
from pint.states import StateSpace, Transfer, space_like


class TimeStepper(ABC):
    r"""The one-step map of the state equation, ``y_{n+1} = Phi_n(y_n, u_n, theta)``.

    Attributes
    ----------
    batched : bool
        Whether `step` advances B independent steps at once: states have shape (B, \*shape),
        blocks of u (B, \*field shape), ``s.t0``, ``s.t1``, ``s.dt`` (B, 1, ..., 1).
        Otherwise `step` makes one step a call, and these are one state, one block, and floats.
    in_place : bool
        Whether `step` takes ``out=``, as the functions of numpy do.
    uses_guess : bool
        Whether `step` reads ``s.guess``, because it solves its equation iteratively.
    initial_state : array_like
        y_0, where it does not depend on theta.
    kept_shape : tuple of int or None
        Shape of the array that one step can keep for its transposes in ``s.kept``.
    host_times : bool
        Whether indices and times of steps are arrays of numpy where states are tensors, too: for
        steps that pass their sizes on as plain numbers.
    kept_type : type
        Of the array's entries: float, or object, for example for graphs of automatic
        differentiation, whose own memory is not limited by ``kept_bytes``.
    """

    batched: bool = False
    in_place: bool = False
    uses_guess: bool = False
    initial_state: Any
    host_times: bool = False
    kept_shape: tuple[int, ...] | None = None
    kept_type: type = float

    @property
    def space(self) -> StateSpace:
        """The space of the states; by default arrays of shape and precision of `initial_state`."""
        return space_like(self)

    @abstractmethod
    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        """Return the state at ``s.t1`` that follows from `y` at ``s.t0``.

        Never changes its arguments. It must accept the step size of every level of the grid.

        Parameters
        ----------
        s : Steps
            Which step or steps, and their times. If ``s.kept`` is not None, the step may write
            there what its transposes need. If ``s.guess`` is not None, it is near the result.
        y : state, or batch of states
        u : mapping of str to array
            The block of each time-dependent field that belongs to the step.
        theta : mapping of str to array
            The shared fields.
        out : state, or batch of states, optional
            Only with `in_place`: the step writes its result there, and returns it. `out` shares
            memory with no argument but ``s.guess``.

        Raises
        ------
        NumericalError
            Where its equation cannot be solved. The result then counts as NaN, that of the whole
            batch if steps are batched: a line search shortens its step, and a first solve ends
            with the message on every rank. The same holds for all methods of a problem.
        """

    def advance(
        self, s: Runs, start: Any, u: Fields, theta: Fields, out: Any, rhs: Any = None
    ) -> None:
        """Take runs of steps, each step from the result of the one before, in place.

        Define it, for `batched` steps and states that are numpy arrays, if one call for many
        steps is much cheaper than a call for each. All blocks ascend in time, and have a row for
        each row of `s`; rows that are in no run are neither read nor written.

        Parameters
        ----------
        s : Runs
        start : batch of states
            Where each run begins.
        u, theta
            As in `step`.
        out : batch of states
            For the results; of one row, if there is one run, for the last result alone.
        rhs : batch of states, optional
            Added to each result, before the next step begins there.
        """
        raise NotImplementedError

    def initial(self, theta: Fields) -> Any:
        """Return y_0(theta); by default `initial_state`, as an array if it is a list or number."""
        state = self.initial_state
        return state if hasattr(state, "shape") else np.asarray(state, dtype=float)

    def coarsen(self, level: int) -> TimeStepper:
        """Return the stepper of a coarser level; by default this one, with the larger step.

        Its `space` may be another one, as that of a coarser mesh, if `transfer` says how states
        get there. Its steps are given the control of level 0 all the same.
        """
        return self

    def tangent(self) -> Tangent | None:
        """Return the derivatives of the steps along directions, for a `Problem` without one.

        By default None: they are then taken numerically.
        """
        return None

    def transfer(self, level: int) -> Transfer | None:
        """Return how states go from ``level - 1`` to `level`, and corrections back.

        By default None: the stepper of `level`, from `coarsen`, has the states of the one before.
        Only the stepper of level 0 is asked.
        """
        return None
