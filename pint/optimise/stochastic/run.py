"""A run of stochastic updates between two of them, and what a checkpoint saves of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pint.comm import reduce
from pint.controls import Control
from pint.interface import Examples
from pint.optimise.point import Point
from pint.optimise.result import Iterate
from pint.optimise.resumable import MOST_ROWS, Compared, Layout, Resumable, largest, length_of
from pint.optimise.stochastic.gradients import Gradients, solve_cycles
from pint.optimise.stochastic.rules import Moments, Rule
from pint.optimise.whole_arrays import field_shapes, gathered, scattered
from pint.reduced_functional import ReducedFunctional
from pint.report.archives import Declared

CONTROLS = ("control", "previous", "first", "moment1", "moment2", "best")


class Batch(NamedTuple):
    """The examples of one update.

    Attributes
    ----------
    epoch : int
    indices : ndarray or None
        None for a problem without examples.
    ends_epoch : bool
        Whether it is the last one of its epoch.
    """

    epoch: int
    indices: np.ndarray | None
    ends_epoch: bool

    @property
    def size(self) -> int:
        """The number of examples; 1 without any."""
        return 1 if self.indices is None else len(self.indices)


@dataclass(frozen=True)
class Order:
    """Which examples each update sees.

    Attributes
    ----------
    examples : Examples or None
        Without examples each epoch is one update.
    shuffle : bool
    seed : int
    """

    examples: Examples | None
    shuffle: bool
    seed: int

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batch of each update, epoch after epoch without end."""
        # Every rank draws the same order from the seed, so that none has to be sent.
        random, epoch = np.random.default_rng(self.seed), 0
        while True:
            if self.examples is None:
                yield Batch(epoch, None, True)
            else:
                count = self.examples.count
                order = random.permutation(count) if self.shuffle else np.arange(count)
                some = list(batches(order, self.examples.batch_size))
                for number, indices in enumerate(some, 1):
                    yield Batch(epoch, indices, number == len(some))
            epoch += 1

    @property
    def updates(self) -> int:
        """Updates of an epoch."""
        if self.examples is None:
            return 1
        return -(-self.examples.count // self.examples.batch_size)

    def batch(self, update: int) -> Batch:
        """Return the batch of an update."""
        return next(batch for number, batch in enumerate(self) if number == update)


def batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield so many numbers at a time, the last time what is left."""
    for start in range(0, len(order), size):
        yield order[start : start + size]


@dataclass
class Run(Resumable):
    """Everything that the next updates depend on. Changes in place.

    Attributes
    ----------
    point : Point
    gradients : Gradients
    rule : Rule
    order : Order
    control : Control
        To be updated next.
    previous, first : Control
        Before the last update, and before all of them.
    moments : Moments
    rate : float
        Of the last update; NaN before the first one.
    validation : list of float
        What was measured after epochs, the last ones of the run.
    best : Control
        That of the least value among them, after `best_updates` updates.
    history : list of Iterate
    """

    point: Point
    gradients: Gradients
    rule: Rule
    order: Order
    control: Control
    previous: Control = field(init=False)
    first: Control = field(init=False)
    best: Control = field(init=False)
    moments: Moments = field(init=False)
    best_updates: int = 0
    rate: float = math.nan
    validation: list[float] = field(default_factory=list)
    history: list[Iterate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.previous = self.first = self.best = self.control
        self.moments = Moments.zero(self.control)

    @property
    def updates(self) -> int:
        """Updates so far."""
        return self.moments.updates

    @property
    def best_epoch(self) -> int:
        """The place of the least validation, the first one of several; -1 if none is a number."""
        known = [(value, epoch) for epoch, value in enumerate(self.validation) if value < math.inf]
        return min(known)[1] if known else -1

    def note_validation(self, value: float) -> None:
        """Keep the value after an epoch, and the control if it is the best so far, in place."""
        self.validation.append(value)
        if self.best_epoch == len(self.validation) - 1:
            self.best, self.best_updates = self.control, self.updates

    def move(self, control: Control, moments: Moments, rate: float) -> None:
        """Take over the outcome of an update, in place."""
        self.previous, self.control = self.control, control
        self.moments, self.rate = moments, rate

    def select(self, batch: Batch) -> None:
        """Make the objective that of a batch, in place. Collective."""
        if batch.indices is not None:
            self.functional.select(batch.indices)

    # Checkpoints

    @property
    def functional(self) -> ReducedFunctional:
        return self.point.functional

    @property
    def is_finite(self) -> bool:
        last = self.history[-1]
        finite = bool(np.isfinite(self.control.vector).all())
        alike = reduce(self.functional.controls.part_comm, finite, "min")[0]
        return bool(alike) and math.isfinite(last.objective + last.gradient_norm)

    def solver(self) -> dict[str, np.ndarray]:
        order = f"seed {self.order.seed}" if self.order.shuffle else "the examples' own order"
        return {
            "solves": np.array(f"Stochastic, {self.gradients.name}, {order}"),
            "hessian": np.array(repr(self.rule)),
        }

    def numbers(self) -> dict[str, Any]:
        return {
            "numbers": {
                "updates": self.updates,
                "best_updates": self.best_updates,
                "rate": self.rate,
                "used": self.gradients.used,
                "gradients": self.gradients.state_dict(),
            }
        }

    def layout(self) -> Layout:
        return _StochasticLayout(field_shapes(self.functional))

    def arrays(self) -> dict[str, np.ndarray]:
        moments = (
            Control(self.control.space, v) for v in (self.moments.first, self.moments.second)
        )
        controls = (self.control, self.previous, self.first, *moments, self.best)
        arrays: dict[str, np.ndarray] = {"validation": np.array(self.validation, dtype=float)}
        # Infinite or no number where a control was useless: files hold finite numbers alone.
        known = np.isfinite(arrays["validation"])
        arrays["validation"] = np.where(known, arrays["validation"], np.finfo(float).max)
        for name, control in zip(CONTROLS, controls, strict=True):
            arrays |= gathered(name, [control])
        return arrays

    def restore(
        self, arrays: Mapping[str, np.ndarray], numbers: dict[str, Any], history: list[Iterate]
    ) -> None:
        saved, space = numbers["numbers"], self.functional.controls
        if saved["updates"] != len(history):
            raise ValueError(f"`updates` is {saved['updates']} after {len(history)} rows")
        if saved["best_updates"] > saved["updates"]:
            raise ValueError(f"`best_updates` is {saved['best_updates']} after fewer updates")
        epochs = len(history) // self.order.updates
        if len(arrays["validation"]) > epochs:  # fewer if the run has begun without
            raise ValueError(f"`validation` has {len(arrays['validation'])} epochs of {epochs}")
        found = [scattered(space, name, arrays, 1)[0] for name in CONTROLS]
        self.control, self.previous, self.first, first, second, self.best = found
        if (second.vector < 0).any():
            raise ValueError("`moment2` must not be negative")
        self.moments = Moments(first.vector, second.vector, saved["updates"])
        self.rate, self.best_updates = float(saved["rate"]), saved["best_updates"]
        values = arrays["validation"].tolist()
        self.validation = [math.inf if v == np.finfo(float).max else v for v in values]
        self.gradients.load_state_dict(saved["gradients"])
        self.gradients.used, self.history = saved["used"], history

    def compared(self, arrays: Mapping[str, np.ndarray]) -> list[Compared]:
        # The batch of the last row, solved in the same way
        self.select(self.order.batch(self.updates - 1))
        solve_cycles(self.point, self.previous, self.gradients.used)
        last = self.history[-1].objective
        scale = largest(self.history, "objective")
        return [Compared("objective", last, self.point.value.objective, scale)]


@dataclass(frozen=True)
class _StochasticLayout(Layout):
    """The arrays of a stochastic run.

    Attributes
    ----------
    fields : dict of str to tuple of int
        Shapes of the control's fields, all time steps and all ranks together.
    """

    fields: Mapping[str, tuple[int, ...]]

    def wanted(self, declared: Mapping[str, Declared]) -> dict[str, tuple[Declared, ...]]:
        real = np.dtype(float)
        epochs = length_of("validation", declared, MOST_ROWS)
        arrays: dict[str, tuple[Declared, ...]] = {"validation": (Declared(real, (epochs,)),)}
        for name in CONTROLS:
            for one, shape in self.fields.items():
                arrays[f"{name}.{one}"] = (Declared(real, (1, *shape)),)
        return arrays

    def check(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Nothing more is known of these arrays by themselves."""
