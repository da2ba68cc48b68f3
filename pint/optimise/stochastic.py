"""Stochastic optimisation: each control update sees one batch of the examples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control, projected_gradient
from pint.equations import Value
from pint.errors import check_kind, integer, number
from pint.grid import TimeGrid
from pint.interface import Examples, Problem
from pint.mgrit import Accuracy
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.ending import Ending, Limited
from pint.optimise.method import Callback
from pint.optimise.point import Point
from pint.optimise.recorder import Recorder
from pint.optimise.result import Iterate, Result, Status
from pint.optimise.stochastic_rules import Moments, Rule
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True)
class Stochastic(Limited):
    """Updates by SGD with momentum or by Adam, each from one batch of the examples.

    The gradient is that in the control's metric. With ``metric="time"`` it is a function of time,
    and so is the update: runs with N and with 2N steps of time make the same updates up to
    O(dt), with the same learning rate, `eps` and everything else. (The Euclidean derivative with
    respect to a block is dt times that.) Bounds are kept by projection.

    The states of another batch are other states: every solve begins with the functional's first
    guess and does `cycles` MGRIT cycles from there. On a grid of one level it is exact.

    A `Smoothness` term is the exception: its gradient is gamma / dt^2 times a second difference of
    the blocks, and plain gradient descent needs ``learning_rate < dt^2 / (2 gamma)``.

    Every example is seen once in each epoch; the last batch of an epoch is smaller where their
    number is not divisible. Batches depend on `seed` alone, not on the ranks.

    Row i of the history is the control before update i, its objective and gradient those of the
    batch that the update is made from, by `cycles` cycles. The result is the mean over all
    examples, with exact states and adjoints; its state is that of the last batch. Its status is
    ITERATION_LIMIT after all epochs, NOT_FINITE if they end before.

    Parameters
    ----------
    rule : Rule
        `sgd(momentum)` or `adam(beta1, beta2, eps)`.
    epochs : int
        Passes over the examples.
    learning_rate : float
        Factor of the direction; that of epoch e, from 0, is ``learning_rate / (1 + decay e)``.
    cycles : int
        MGRIT cycles of each state and each adjoint solve.
    decay : float
    shuffle : bool
        Put the examples in a new random order for every epoch.
    seed : int
        Of these orders.
    time_limit, evaluations
        Limits of wall time and of evaluations, one of which is that of a batch: see `Limited`.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range.
    """

    rule: Rule
    epochs: int
    learning_rate: float
    cycles: int = 1
    decay: float = 0.0
    shuffle: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_kind("Stochastic", "rule", self.rule, Rule, "`sgd(...)` or `adam(...)`")
        for name, least in {"epochs": 0, "cycles": 1, "seed": 0}.items():
            value = integer("Stochastic", name, getattr(self, name), least)
            object.__setattr__(self, name, value)
        number("Stochastic", "learning_rate", self.learning_rate, positive=True)
        number("Stochastic", "decay", self.decay)
        self.check_limits()

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        if problem.examples is None:
            raise ValueError(
                "`Stochastic` needs a problem with `examples`: for a network, one made with "
                "`batch_size`."
            )
        if problem.objective.has_outer:
            raise ValueError(
                "`Stochastic` needs a cost that is the mean over the examples: `Objective.outer` "
                "must not be defined."
            )

    def run(
        self,
        functional: ReducedFunctional,
        start: Control,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> Result:
        examples = functional.problem.examples
        assert examples is not None
        control = functional.controls.project(start)
        with ending_all_ranks(functional.ranks_to_end):
            history: list[Iterate] = []
            point, recorder = Point(functional), Recorder(functional, callback, history)
            accuracy, moments = Accuracy(self.cycles), Moments.zero(control)
            ending = Ending(functional, self)
            first = previous = control
            updates, taken = 0, None
            for rate, batch in self._schedule(examples):
                # State sweep, adjoint sweep and gradient of a new batch
                functional.select(batch)
                point.forget()  # states of other examples are no better than a first guess
                with np.errstate(over="ignore", invalid="ignore"):
                    point.solve_state(control, accuracy)
                    if not history:  # later on it is an outcome of the run, not of the problem
                        functional.require_finite(point.value)
                    point.solve_adjoint(accuracy)
                    point.note_exactness()
                row = recorder.add(point, taken or rate)
                if not math.isfinite(row.objective + row.gradient_norm):
                    # The control before the last update was finite; its batch has shown it.
                    finite = {max(updates - 1, 0): previous, 0: first}
                    cause = point.cause()
                    return _result(point, recorder, examples, finite, Status.NOT_FINITE, cause)

                reason = ending.after_row(len(history), recorder.asked)
                if reason is not None:
                    return _result(point, recorder, examples, {updates: control, 0: first}, reason)

                # Control update
                with functional.phases("update"):
                    direction, moments = self.rule.direction(point.gradient, moments)
                    previous, control = control, control.space.project(control - rate * direction)
                    updates, taken = updates + 1, rate
            last = {updates: control, 0: first}
            return _result(point, recorder, examples, last, Status.ITERATION_LIMIT)

    def _schedule(self, examples: Examples) -> Iterator[tuple[float, np.ndarray]]:
        """Yield the learning rate and the batch of each update."""
        random, count = np.random.default_rng(self.seed), examples.count
        for epoch in range(self.epochs):
            rate = self.learning_rate / (1 + self.decay * epoch)
            # Every rank draws the same order from the seed, so that none has to be sent.
            order = random.permutation(count) if self.shuffle else np.arange(count)
            for batch in _batches(order, examples.batch_size):
                yield rate, batch


def _batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _result(
    point: Point,
    recorder: Recorder,
    examples: Examples,
    controls: dict[int, Control],
    status: Status,
    cause: str = "",
) -> Result:
    """Return the result at the first of some controls where it is finite. Collective.

    `controls` are by the numbers of their updates.
    """
    for updates, control in controls.items():
        with np.errstate(over="ignore", invalid="ignore"):
            value, gradient = _mean(point, examples, control)
        norm = control.space.norm(projected_gradient(control, gradient))
        iterations = updates
        if math.isfinite(value.objective + norm):
            break
        status = Status.NOT_FINITE
    return recorder.result_at(control, value, norm, point.state, status, iterations, cause)


def _mean(point: Point, examples: Examples, control: Control) -> tuple[Value, Control]:
    """Return objective and gradient over all examples, batch by batch, exactly. Collective."""
    cost, gradient, count = 0.0, control.space.zeros(), examples.count
    for batch in _batches(np.arange(count), examples.batch_size):
        point.functional.select(batch)
        point.solve_exactly(control)
        # A mean over a smaller last batch weighs less.
        cost += len(batch) / count * point.value.cost
        gradient = gradient + len(batch) / count * point.gradient
    return Value(cost, point.value.regularisers), gradient
