"""Mini-batches: what the solves for a new batch should start from, and what a change of it costs.

The dense network of width 8 on 1000 points of the peaks data in ten batches, trained by Adam;
N layers, coarsening factor 4, FCF-relaxation. The first table compares, for batches that stay the
same over the epochs,

- `coarse`, `nested`: the first guesses of `ReducedFunctional`, anew for each batch;
- `last batch`: the trajectories of the batch before, which belong to other examples;
- `own last state`: trajectories of its own for every batch, from the epoch before

by the error of the gradient, relative to it (the mean of the last epoch), and the objective that
is reached. The second has milliseconds of an update from a batch, and of the bare gradient of one
batch by the same solves, without a change of the batch and without an update.

    python benchmarks/run_all.py mini_batches [--quick]
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from measuring import Row, options_of, print_table, save, timings

import pint
from pint.equations import Cycles, March
from pint.optimise.stochastic.rules import Moments
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

EXAMPLES, BATCH, FINAL_TIME, RATE = 1000, 100, 5.0, 0.01
NETWORK = DenseNetwork(features=2, width=8, classes=5)
STARTS = ("coarse", "nested", "last batch", "own last state")


def functional_of(layers: int, levels: int, guess: str = "nested") -> pint.ReducedFunctional:
    """Return the network's functional on the first batch."""
    problem = NETWORK.problem(*generate(EXAMPLES, 0), Regularisation(1e-5, 1e-5, 1e-5), BATCH)
    grid = pint.TimeGrid.uniform(FINAL_TIME, layers, 4, levels)
    return pint.ReducedFunctional(problem, grid, guess=guess)


class Trajectories:
    """A state and an adjoint; each solve starts from where the last one ended."""

    def __init__(self, functional: pint.ReducedFunctional) -> None:
        self.functional = functional
        self.state = functional.state.new()
        self.adjoint = functional.adjoint.new(all_points=False)

    def forget(self) -> None:
        """Let the next solves begin with the first guess, in place."""
        self.state.forget()
        self.adjoint.forget()

    def gradient(self, control: pint.Control, how: Cycles | March) -> pint.Control:
        """Solve and return the gradient, in place; the objective is evaluated, as updates do."""
        functional = self.functional
        functional.state.solve(self.state, control, how)
        functional.objective(self.state)
        functional.adjoint.solve(self.adjoint, self.state, how)
        return functional.controls.riesz(functional.derivative_of(self.state, self.adjoint))


def train(layers: int, levels: int, start: str, cycles: int, epochs: int) -> Row:
    """Return the error of the gradient in the last epoch, and the objective of all examples."""
    anew = start in ("coarse", "nested")
    functional = functional_of(layers, levels, start if anew else "nested")
    control = NETWORK.random_control(functional.controls, 0)
    rule, how, space = pint.adam(), Cycles(pint.Accuracy(cycles)), control.space
    moments = Moments(np.zeros(space.size), np.zeros(space.size))
    batches, marched = np.arange(EXAMPLES).reshape(-1, BATCH), Trajectories(functional)
    several = [Trajectories(functional)] * len(batches)
    if start == "own last state":
        several = [Trajectories(functional) for _ in batches]
    for _ in range(epochs):
        errors = []
        for trajectories, batch in zip(several, batches, strict=True):
            functional.select(batch)
            if anew:
                trajectories.forget()
            gradient = trajectories.gradient(control, how)
            exact = marched.gradient(control, March())
            errors.append(space.norm(gradient - exact) / space.norm(exact))
            direction, moments = rule.direction(control, gradient, moments)
            control = control - RATE * direction
    method = pint.Stochastic(rule, epochs=0, learning_rate=RATE)
    result = pint.minimize(functional, control, method)
    return {
        "levels": levels,
        "cycles": cycles,
        "first guess": start,
        "gradient error": statistics.mean(errors),
        "objective": f"{result.objective:.5f}",
    }


def milliseconds(layers: int, levels: int, cycles: int, repeats: int) -> Row:
    """Return the medians of an update and of a gradient."""
    functional = functional_of(layers, levels)
    control = NETWORK.random_control(functional.controls, 0)
    method = pint.Stochastic(pint.adam(), epochs=2, learning_rate=RATE, cycles=cycles)
    trajectories, how = Trajectories(functional), Cycles(pint.Accuracy(cycles))
    updates = EXAMPLES // BATCH
    of_updates: list[float] = []

    def epoch() -> None:
        rows = pint.minimize(functional, control, method).history
        of_updates.append((rows[-1].seconds - rows[updates - 1].seconds) / updates)

    def gradients() -> None:
        for _ in range(updates):
            trajectories.forget()
            trajectories.gradient(control, how)

    seconds = timings({"update": epoch, "gradient": gradients}, repeats)
    return {
        "levels": levels,
        "cycles": cycles,
        "update (ms)": 1e3 * statistics.median(of_updates[1:]),
        "gradient (ms)": 1e3 * statistics.median(seconds["gradient"]) / updates,
    }


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the tables and write the first; return its rows."""
    options = options_of(__doc__, arguments, repeats=15)
    layers, epochs = (16, 2) if options.quick else (64, 10)
    rows = [train(layers, 1, "coarse", 1, epochs)]
    rows[0]["first guess"] = "none"
    rows += [
        train(layers, levels, start, cycles, epochs)
        for levels in ((2,) if options.quick else (2, 3))
        for cycles in (1, 2)
        for start in STARTS
    ]
    print_table(f"First guess for a batch, N = {layers}", rows)
    save("mini_batches", rows, options.output)
    times = [
        milliseconds(layers, levels, cycles, options.repeats)
        for levels, cycles in ((1, 1), (2, 1), (2, 2))
    ]
    print_table("An update and a gradient", times)
    return rows


if __name__ == "__main__":
    main()
