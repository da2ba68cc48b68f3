"""Stochastic optimisation: each control update sees one batch of the examples."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control
from pint.equations.trajectory import Value
from pint.interface import Examples
from pint.mgrit import Accuracy
from pint.optimise.descent import Callback, evaluated, log_row, measures
from pint.optimise.point import Point
from pint.optimise.result import Iterate, Result, Status
from pint.reduced_functional import ReducedFunctional
from pint.report.memory import peak_memory_of_ranks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Moments:
    """What a rule remembers of the gradients so far.

    Attributes
    ----------
    first, second : ndarray
        Sums of gradients, and of their squares entry by entry, this rank's part.
    updates : int
        Number of gradients.
    """

    first: np.ndarray
    second: np.ndarray
    updates: int = 0


class Rule(ABC):
    """How the direction of an update follows from the gradients; build one with `sgd`, `adam`."""

    @abstractmethod
    def direction(self, gradient: Control, moments: Moments) -> tuple[Control, Moments]:
        """Return the direction of the update, to be subtracted, and the new moments. Collective."""


@dataclass(frozen=True)
class Momentum(Rule):
    """``v <- momentum v + g``, direction v [1]_.

    Attributes
    ----------
    momentum : float
        At least 0, below 1; 0 is plain gradient descent.

    References
    ----------
    .. [1] Polyak, USSR Comput. Math. Math. Phys. 4 (1964), 1-17, doi:10.1016/0041-5553(64)90137-5.
    """

    momentum: float

    def __post_init__(self) -> None:
        _check_below_one("sgd", "momentum", self.momentum)

    def direction(self, gradient: Control, moments: Moments) -> tuple[Control, Moments]:
        first = self.momentum * moments.first + gradient.vector
        return Control(gradient.space, first), Moments(first, moments.second, moments.updates + 1)


@dataclass(frozen=True)
class Adam(Rule):
    """``m <- beta1 m + (1 - beta1) g``, ``v <- beta2 v + (1 - beta2) g^2``, entry by entry [1]_.

    Direction of update k is ``m / (1 - beta1^k) / (sqrt(v / (1 - beta2^k)) + eps)``, projected to
    the subspace of controls on a coarser time mesh.

    Attributes
    ----------
    beta1, beta2 : float
        At least 0, below 1.
    eps : float
        Positive, in the unit of the gradient.

    References
    ----------
    .. [1] Kingma & Ba, ICLR 2015, arXiv:1412.6980, Algorithm 1.
    """

    beta1: float
    beta2: float
    eps: float

    def __post_init__(self) -> None:
        _check_below_one("adam", "beta1", self.beta1)
        _check_below_one("adam", "beta2", self.beta2)
        if not 0 < self.eps < np.inf:
            raise ValueError(f"`adam(eps=...)` must be positive, got {self.eps}.")

    def direction(self, gradient: Control, moments: Moments) -> tuple[Control, Moments]:
        g, space, k = gradient.vector, gradient.space, moments.updates + 1
        first = self.beta1 * moments.first + (1 - self.beta1) * g
        second = self.beta2 * moments.second + (1 - self.beta2) * g**2
        deviation = np.sqrt(second / (1 - self.beta2**k))
        direction = Control(space, first / (1 - self.beta1**k) / (deviation + self.eps))
        for name, mesh in space.meshes.items():
            direction[name][...] = mesh.project(direction[name])
        return direction, Moments(first, second, k)


def _check_below_one(rule: str, name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"`{rule}({name}=...)` must be at least 0 and below 1, got {value}.")


def sgd(momentum: float = 0.9) -> Rule:
    """Return stochastic gradient descent with momentum."""
    return Momentum(momentum)


def adam(beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Rule:
    """Return Adam."""
    return Adam(beta1, beta2, eps)


@dataclass(frozen=True)
class Stochastic:
    """Updates by SGD with momentum or by Adam, each from one batch of the examples.

    The gradient is that in the control's metric. With ``metric="time"`` it is a function of time,
    and so is the update: runs with N and with 2N steps of time make the same updates up to
    O(dt), with the same learning rate, `eps` and everything else. (The Euclidean derivative with
    respect to a block is dt times that.) Bounds are kept by projection.

    The states of another batch are other states: every solve begins with the functional's first
    guess and does `cycles` MGRIT cycles from there. On a grid of one level it is exact.

    A `Smoothness` term is the exception: its gradient is gamma / dt^2 times a second difference of
    the blocks, and plain gradient descent needs ``learning_rate < dt^2 / (2 gamma)``.

    Parameters
    ----------
    functional : ReducedFunctional
        Its problem has `examples`, its cost is their mean.
    rule : Rule
        `sgd(momentum)` or `adam(beta1, beta2, eps)`.
    cycles : int
        MGRIT cycles of each state and each adjoint solve.

    Raises
    ------
    ValueError
        If `cycles` is below 1, or the problem has no examples or a cost that is no mean.
    """

    functional: ReducedFunctional
    rule: Rule
    cycles: int = 1

    def __post_init__(self) -> None:
        Accuracy(self.cycles)
        if not isinstance(self.rule, Rule):
            raise TypeError(
                f"`Stochastic(rule=...)` is `sgd(...)` or `adam(...)`, got {self.rule!r}."
            )
        if self.functional.problem.examples is None:
            raise ValueError(
                "`Stochastic` needs a problem with `examples`: for a network, one made with "
                "`batch_size`."
            )
        if self.functional.problem.objective.has_outer:
            raise ValueError(
                "`Stochastic` needs a cost that is the mean over the examples: `Objective.outer` "
                "must not be defined."
            )

    @property
    def examples(self) -> Examples:
        """The problem's examples."""
        examples = self.functional.problem.examples
        assert examples is not None
        return examples

    def solve(
        self,
        control: Control,
        *,
        epochs: int,
        learning_rate: float,
        decay: float = 0.0,
        shuffle: bool = True,
        seed: int = 0,
        callback: Callback | None = None,
    ) -> Result:
        """Minimise from `control`. Collective.

        Every example is seen once in each epoch; the last batch of an epoch is smaller where their
        number is not divisible. Batches depend on `seed` alone, not on the ranks.

        Parameters
        ----------
        control : Control
            Where to start; projected to the bounds.
        epochs : int
            Passes over the examples.
        learning_rate : float
            Factor of the direction; that of epoch e, from 0, is ``learning_rate / (1 + decay e)``.
        decay : float
        shuffle : bool
            Put the examples in a new random order for every epoch.
        seed : int
            Of these orders.
        callback : callable, optional
            Receives each `Iterate`, its control and the state of its batch; it must not change
            them, nor select other examples.

        Returns
        -------
        Result
            Row i of the history is the control before update i, its objective and gradient those
            of the batch that the update is made from, by `cycles` cycles. The result is the mean
            over all examples, with exact states and adjoints; its state is that of the last batch.
            Its status is ITERATION_LIMIT after all epochs, NOT_FINITE if they end before.

        Raises
        ------
        TypeError, ValueError
            If `control` is no control of the problem, or an argument is out of range.
        NotFiniteError
            If the objective at the first control is NaN or infinite.
        """
        if not isinstance(epochs, Integral) or epochs < 0:
            raise ValueError(f"`solve(epochs=...)` must be an integer >= 0, got {epochs}.")
        if not 0 < learning_rate < np.inf:
            raise ValueError(f"`solve(learning_rate=...)` must be positive, got {learning_rate}.")
        if not 0 <= decay < np.inf:
            raise ValueError(f"`solve(decay=...)` must be finite and >= 0, got {decay}.")
        if not isinstance(seed, Integral) or seed < 0:
            raise ValueError(f"`solve(seed=...)` must be an integer >= 0, got {seed}.")
        orders = self._orders(epochs, seed if shuffle else None)
        rates = (learning_rate / (1 + decay * epoch) for epoch in range(epochs))
        self.functional.problem.controls.require_fitting(control)
        start = control.space.project(control)
        with ending_all_ranks(self.functional.ranks_to_end):
            history: list[Iterate] = []
            steps = (
                (rate, batch)
                for rate, order in zip(rates, orders, strict=True)
                for batch in self._batches(order)
            )
            point = Point(self.functional)
            controls, status = self._iterate(point, start, steps, history, callback)
            return self._result(point, controls, status, history)

    def _orders(self, epochs: int, seed: int | None) -> Iterator[np.ndarray]:
        """Yield the order of the examples in each epoch."""
        random = None if seed is None else np.random.default_rng(seed)
        for _ in range(epochs):
            count = self.examples.count
            yield np.arange(count) if random is None else random.permutation(count)

    def _batches(self, order: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(order), self.examples.batch_size):
            yield order[start : start + self.examples.batch_size]

    def _iterate(
        self,
        point: Point,
        control: Control,
        steps: Iterator[tuple[float, np.ndarray]],
        history: list[Iterate],
        callback: Callback | None,
    ) -> tuple[dict[int, Control], Status]:
        """Do the updates, fill the `history`, and return why they end.

        Also return, by their numbers, the last control whose batch was finite, and the first.
        """
        functional, accuracy, started = point.functional, Accuracy(self.cycles), time.perf_counter()
        moments = Moments(np.zeros(control.space.size), np.zeros(control.space.size))
        first = previous = control
        updates, taken = 0, None
        for rate, batch in steps:
            # State sweep, adjoint sweep and gradient of a new batch
            functional.select(batch)
            point.forget()
            with np.errstate(over="ignore", invalid="ignore"):
                point.solve_state(control, accuracy)
                if not history:
                    functional.require_finite(point.value)
                point.solve_adjoint(accuracy)
                history.append(_row(point, updates, taken or rate, started))
            log_row(history[-1])
            if callback is not None:
                callback(history[-1], control, point.state)
            if not math.isfinite(history[-1].objective + history[-1].gradient_norm):
                return {max(updates - 1, 0): previous, 0: first}, Status.NOT_FINITE

            # Control update
            with functional.phases("update"):
                direction, moments = self.rule.direction(point.gradient, moments)
                previous, control = control, control.space.project(control - rate * direction)
                updates, taken = updates + 1, rate
        return {updates: control, 0: first}, Status.ITERATION_LIMIT

    def _result(
        self, point: Point, controls: dict[int, Control], status: Status, history: list[Iterate]
    ) -> Result:
        """Return the result at the first of some controls where it is finite. Collective.

        `controls` are by the numbers of their updates.
        """
        functional = point.functional
        for updates, control in controls.items():
            with np.errstate(over="ignore", invalid="ignore"):
                value, gradient = self._mean(point, control)
            space = control.space
            norm = space.norm(control - space.project(control - gradient))
            iterations = updates
            if math.isfinite(value.objective + norm):
                break
            status = Status.NOT_FINITE
        functional.require_finite(value)
        logger.info("%s after %d updates", status.name, iterations)
        return Result(
            control=control,
            objective=value.objective,
            cost=value.cost,
            gradient_norm=norm,
            status=status,
            iterations=iterations,
            history=tuple(history),
            state=point.state,
            peak_memory=peak_memory_of_ranks(functional.comm, functional.problem.space.comm),
        )

    def _mean(self, point: Point, control: Control) -> tuple[Value, Control]:
        """Return objective and gradient over all examples, batch by batch, exactly. Collective."""
        cost, gradient, count = 0.0, control.space.zeros(), self.examples.count
        for batch in self._batches(np.arange(count)):
            point.functional.select(batch)
            point.solve_exactly(control)
            cost += len(batch) / count * point.value.cost
            gradient = gradient + len(batch) / count * point.gradient
        return Value(cost, point.value.regularisers), gradient


def _row(point: Point, iteration: int, rate: float, started: float) -> Iterate:
    """Return a row of the history; there is no estimate of the errors of inexact solves."""
    convergence = point.state.convergence
    error = 0.0 if convergence is not None and convergence.converged else math.nan
    return Iterate(
        iteration=iteration,
        **measures(point),
        objective_error=error,
        gradient_error=error,
        step=rate,
        line_search_trials=0,
        seconds=time.perf_counter() - started,
        **evaluated(point.functional),
    )
