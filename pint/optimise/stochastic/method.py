"""Stochastic optimisation: each control update sees one batch of the examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal

import numpy as np

from pint.comm import alike, ending_all_ranks, on_root
from pint.controls import Control, projected_gradient
from pint.equations import Value
from pint.errors import check_kind, integer, is_number, number, shown
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.optimise.checkpoint import Checkpoint, resume
from pint.optimise.ending import Ending, Limited
from pint.optimise.interruption import interruptible
from pint.optimise.method import Callback
from pint.optimise.point import Point
from pint.optimise.recorder import Recorder
from pint.optimise.result import Result, Status
from pint.optimise.stochastic.bias import BiasControl, gradients_of
from pint.optimise.stochastic.rules import Rule
from pint.optimise.stochastic.run import Order, Run, batches
from pint.optimise.stochastic.schedules import Schedule
from pint.reduced_functional import ReducedFunctional

CLIP_EPS = 1e-6
"""Added to the norm that gradients are divided by, as in ``torch.nn.utils.clip_grad_norm_``."""

GROWTH = 10.0
"""An objective that has grown to so many times its first size has diverged."""


@dataclass(frozen=True)
class Stochastic(Limited):
    """Updates by SGD with momentum or by Adam, each from one batch of the examples.

    The gradient is that in the control's metric. With ``metric="time"`` it is a function of time,
    and so is the update: runs with N and with 2N steps of time make the same updates up to
    O(dt), with the same learning rate, `eps` and everything else. (The Euclidean derivative with
    respect to a block is dt times that.) Bounds are kept by projection.

    The states of another batch are other states: every solve begins with the functional's first
    guess and does some MGRIT cycles from there. How many is measured, unless `cycles` is a
    number: see `BiasControl`. On a grid of one level solves are exact.

    A `Smoothness` term is the exception: its gradient is gamma / dt^2 times a second difference of
    the blocks, and plain gradient descent needs ``learning_rate < dt^2 / (2 gamma)``.

    Every example is seen once in each epoch; the last batch of an epoch is smaller where their
    number is not divisible. Batches depend on `seed` alone, not on the ranks. For a problem
    without examples each epoch is one update.

    Row i of the history is the control before update i, its objective and gradient those of the
    batch that the update is made from, and `gradient_error` the error of this gradient where it
    was estimated, NaN elsewhere. The result is the mean over all examples, with exact states and
    adjoints; its state is that of the last batch. Its status is ITERATION_LIMIT after all epochs,
    EARLY_STOPPED, DIVERGING if the objective has grown to ten times its first size, NOT_FINITE if
    it became NaN or infinite. With `validation` its control is the best one after an epoch.

    Parameters
    ----------
    rule : Rule
        `sgd(momentum, weight_decay)` or `adam(beta1, beta2, eps, weight_decay)`.
    epochs : int
        Passes over the examples.
    learning_rate : float
        Factor of the direction; that of epoch e, from 0, is ``learning_rate / (1 + decay e)``.
    cycles : int or 'adaptive' or BiasControl
        MGRIT cycles of each state and each adjoint solve; "adaptive" is ``BiasControl()``.
    decay : float
    schedule : callable, optional
        ``schedule(update, epoch)``, both from 0, multiplies the learning rate, in place of
        `decay`: one of `pint.schedules`, or a function. That of the first rank counts.
    clip : float, optional
        Largest norm of a gradient, in the metric: longer ones are shortened.
    shuffle : bool
        Put the examples in a new random order for every epoch.
    seed : int
        Of these orders.
    validation : callable, optional
        ``validation(control)``, called after each epoch, on all ranks, returns a number that is
        least for the best control. That of the first rank counts; NaN is never best.
    patience : int, optional
        Epochs without a better validation after which the run ends.
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
    cycles: int | Literal["adaptive"] | BiasControl = "adaptive"
    decay: float = 0.0
    schedule: Callable[[int, int], float] | None = None
    clip: float | None = None
    shuffle: bool = True
    seed: int = 0
    validation: Callable[[Control], float] | None = None
    patience: int | None = None

    takes_checkpoint: ClassVar[bool] = True

    def __post_init__(self) -> None:
        owner = "Stochastic"
        check_kind(owner, "rule", self.rule, Rule, "`sgd(...)` or `adam(...)`")
        for name, least in {"epochs": 0, "seed": 0}.items():
            object.__setattr__(self, name, integer(owner, name, getattr(self, name), least))
        number(owner, "learning_rate", self.learning_rate, positive=True)
        number(owner, "decay", self.decay)
        if self.clip is not None:
            number(owner, "clip", self.clip, positive=True)
        self._check_cycles()
        for name in ("schedule", "validation"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(f"`{owner}({name}=...)` must be a function, got {shown(value)}.")
        if self.schedule is not None and self.decay:
            raise ValueError("`Stochastic(schedule=...)` takes the place of `decay`: give one.")
        if self.patience is not None:
            object.__setattr__(self, "patience", integer(owner, "patience", self.patience, 1))
            if self.validation is None:
                raise ValueError(
                    "`Stochastic(patience=...)` needs `validation`, a function of the control "
                    "that tells which one is better."
                )
        self.check_limits()

    def _check_cycles(self) -> None:
        cycles: Any = self.cycles
        if isinstance(cycles, str) and cycles == "adaptive":
            cycles = BiasControl()
        elif isinstance(cycles, (str, type)) or callable(cycles):
            raise ValueError(
                "`Stochastic(cycles=...)` must be an integer >= 1, 'adaptive' or a "
                f"`pint.BiasControl`, got {shown(cycles)}."
            )
        elif not isinstance(cycles, BiasControl):
            cycles = integer("Stochastic", "cycles", cycles, 1)
        object.__setattr__(self, "cycles", cycles)

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        if problem.examples is not None and problem.objective.has_outer:
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
        order = Order(functional.problem.examples, self.shuffle, self.seed)
        assert not isinstance(self.cycles, str)
        control = functional.controls.project(start)
        run = Run(Point(functional), gradients_of(self.cycles), self.rule, order, control)
        if checkpoint is not None and order.examples is not None:
            # What is selected is part of the problem's content.
            functional.select(np.arange(order.examples.batch_size))
        resume(run, checkpoint)  # its errors are raised identically on every rank
        with ending_all_ranks(functional.ranks_to_end):
            recorder = Recorder(functional, callback, run.history)
            ending, most = Ending(functional, self), self.epochs * order.updates
            with interruptible(checkpoint is not None) as signalled:
                for batch in islice(order, run.updates, most):
                    if self._has_lost_patience(run):
                        return self._result(run, recorder, Status.EARLY_STOPPED)
                    # State sweep, adjoint sweep and gradient of a new batch
                    rate = self._rate(run, batch.epoch)
                    run.select(batch)
                    self._solve(run, batch.size)
                    before = rate if math.isnan(run.rate) else run.rate
                    row = recorder.add(run.point, before)
                    if not math.isfinite(row.objective + row.gradient_norm):
                        # The control before the last update was finite; its batch has shown it.
                        cause, last = run.point.cause(), max(run.updates - 1, 0)
                        found = {last: run.previous, 0: run.first}
                        return self._result(run, recorder, Status.NOT_FINITE, found, cause)
                    reason = ending.after_row(len(run.history), recorder.asked, signalled)
                    shown_last = {run.updates: run.control, 0: run.first}

                    # Control update; one that a limit ends is done, too, since it is saved
                    self._update(run, rate)
                    if self.validation is not None and batch.ends_epoch:
                        run.note_validation(self._validated(run))
                    if checkpoint is not None:
                        at_once = reason is not None or run.updates == most
                        checkpoint.save_if_due(run, at_once or self._has_lost_patience(run))
                    if reason is not None:
                        return self._result(run, recorder, reason, shown_last)
            lost = self._has_lost_patience(run)
            status = Status.EARLY_STOPPED if lost else Status.ITERATION_LIMIT
            return self._result(run, recorder, status)

    def _rate(self, run: Run, epoch: int) -> float:
        """Return the learning rate of the next update. Collective if a user's function tells it."""
        if self.schedule is None:
            return self.learning_rate / (1 + self.decay * epoch)
        schedule, update, functional = self.schedule, run.updates, run.functional

        def factor() -> float:
            found = schedule(update, epoch)
            if not is_number(found) or not found >= 0:
                raise ValueError(
                    "`Stochastic(schedule=...)` must return finite factors >= 0, got "
                    f"{shown(found)} at update {update}."
                )
            return float(found)

        if isinstance(schedule, Schedule):
            return self.learning_rate * factor()
        found = on_root(functional.space.comm, lambda: on_root(functional.comm, factor))
        return self.learning_rate * found

    def _solve(self, run: Run, examples: int) -> None:
        """Solve for the run's control and form its gradient, in place. Collective."""
        with np.errstate(over="ignore", invalid="ignore"):
            run.gradients.solve(run.point, run.control, run.updates, examples)
            if not run.history:  # later on it is an outcome of the run, not of the problem
                run.functional.require_finite(run.point.value)

    def _update(self, run: Run, rate: float) -> None:
        """Move the run's control by one update, in place. Collective."""
        with run.functional.phases("update"):
            control, gradient = run.control, run.point.gradient
            space = control.space
            if self.clip is not None:
                factor = self.clip / (space.norm(gradient) + CLIP_EPS)
                gradient = min(factor, 1.0) * gradient
            direction, moments = self.rule.direction(control, gradient, run.moments)
            run.move(space.project(control - rate * direction), moments, rate)

    def _validated(self, run: Run) -> float:
        """Return what the user's function says of the run's control. Collective."""
        assert self.validation is not None
        value, functional = self.validation(run.control.read_only()), run.functional
        # One rank's word, so that all of them end at once.
        value = functional.comm.bcast(functional.space.comm.bcast(value, root=0), root=0)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise alike(
                TypeError(f"`Stochastic(validation=...)` must return a number, got {shown(value)}.")
            ) from None

    def _has_lost_patience(self, run: Run) -> bool:
        """Whether the validation has not improved for too long."""
        if self.patience is None:
            return False
        return len(run.validation) - 1 - run.best_epoch >= self.patience

    def _result(
        self,
        run: Run,
        recorder: Recorder,
        status: Status,
        controls: dict[int, Control] | None = None,
        cause: str = "",
    ) -> Result:
        """Return the result at the first of some controls where it is finite. Collective.

        `controls` are by the numbers of their updates, the last one by default; the best one comes
        before them.
        """
        controls = {run.updates: run.control, 0: run.first} if controls is None else controls
        if run.best_epoch >= 0:
            controls = {run.best_updates: run.best, **controls}
        for updates, control in controls.items():
            with np.errstate(over="ignore", invalid="ignore"):
                value, gradient = _mean(run, control)
            norm = control.space.norm(projected_gradient(control, gradient))
            iterations = updates
            if math.isfinite(value.objective + norm):
                break
            status = Status.NOT_FINITE
        growth = "" if status is Status.NOT_FINITE else _growth(run, value)
        if growth:
            status, cause = Status.DIVERGING, growth
        state, note = run.point.state, run.gradients.note
        return recorder.result_at(control, value, norm, state, status, iterations, cause, note)


def _growth(run: Run, value: Value) -> str:
    """Return how an objective has grown beyond its first size; empty if it has not."""
    if not run.history:
        return ""
    first = run.history[0]
    size = abs(first.cost) + sum(map(abs, first.regularisers))
    if not value.objective > first.objective + (GROWTH - 1) * size:
        return ""
    return (
        f"the objective has grown from {first.objective:.3g} to {value.objective:.3g}; use a "
        "smaller `learning_rate`, a `schedule` that warms up, or `clip`."
    )


def _mean(run: Run, control: Control) -> tuple[Value, Control]:
    """Return objective and gradient over all examples, batch by batch, exactly. Collective."""
    point, examples = run.point, run.order.examples
    if examples is None:
        point.solve_exactly(control)
        return point.value, point.gradient
    cost, gradient, count = 0.0, control.space.zeros(), examples.count
    for batch in batches(np.arange(count), examples.batch_size):
        point.functional.select(batch)
        point.solve_exactly(control)
        # A mean over a smaller last batch weighs less.
        cost += len(batch) / count * point.value.cost
        gradient = gradient + len(batch) / count * point.gradient
    return Value(cost, point.value.regularisers), gradient
