"""Random grids for distributed runs, and how to compare with a serial one."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import pint


@dataclass(frozen=True)
class Case:
    """A grid without its communicator."""

    seed: int
    steps: int
    coarsening: tuple
    levels: int

    def __str__(self):
        return f"{self.seed}-N{self.steps}-m{'.'.join(map(str, self.coarsening))}"

    def random(self):
        return np.random.default_rng(self.seed)

    def grid(self, comm=None):
        """Return 2 units of time in steps of random sizes."""
        sizes = self.random().uniform(0.5, 1.5, self.steps)
        times = np.concatenate([[0.0], np.cumsum(sizes)])
        return pint.TimeGrid(2.0 * times / times[-1], self.coarsening or 2, self.levels, comm)


def random_case(seed, largest=40):
    random = np.random.default_rng(seed)
    steps = int(random.integers(1, largest + 1))
    factors, remaining = [], steps
    while len(factors) < 4:
        factor = int(random.integers(2, 7))
        if factor > remaining or random.uniform() < 0.15:
            break
        factors.append(factor)
        remaining //= factor
    return Case(seed, steps, tuple(factors), len(factors) + 1)


# More ranks than steps, more ranks than intervals, a rank without C-points, one long interval
SMALL = [
    Case(1001, 1, (), 1),
    Case(1002, 2, (2,), 2),
    Case(1003, 3, (2,), 2),
    Case(1004, 4, (2, 2), 3),
    Case(1005, 5, (5,), 2),
    Case(1006, 7, (6,), 2),
    Case(1007, 7, (3, 2), 3),
    Case(1008, 11, (2, 2, 2), 4),
    Case(1009, 40, (6, 6), 3),
]


def each_split(test):
    """Run a test with each number of ranks in space, by the argument `space_size`.

    Of four ranks two are in space: what all ranks in time, or in space, do is seen with others.
    """
    size = pint.world().size
    divisors = [divisor for divisor in range(1, size + 1) if size % divisor == 0]
    sizes = pytest.mark.parametrize("space_size", [2] if size == 4 else divisors)
    return pytest.mark.space(sizes(test))


def assert_same_trajectory(grid, distributed, serial):
    """Compare this rank's rows, the neighbour's point before or after its own included."""
    if grid.local_steps:
        expected = serial[grid.first : grid.first + grid.local_steps + 1]
        np.testing.assert_allclose(distributed, expected, rtol=0, atol=1e-13 * abs(serial).max())


def assert_same_residuals(distributed, serial, trajectory):
    """Compare histories; residuals are differences of states, and so is their roundoff."""
    size = max(1.0, np.linalg.norm(trajectory))
    np.testing.assert_allclose(distributed, serial, rtol=0, atol=1e-13 * size)


def assert_same_control(distributed, serial):
    """Compare all fields of a control or a derivative, relative to its largest entry."""
    expected = serial.gather()
    size = max(abs(values).max() for values in expected.values())
    for name, values in distributed.gather().items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-13 * size, err_msg=name)


def finished(result):
    """Return numbers of a run, which a rank can send to others. Collective."""
    names = ("status", "iterations", "history", "objective", "cost", "gradient_norm")
    return SimpleNamespace(
        **{name: getattr(result, name) for name in names}, fields=result.control.gather()
    )


def assert_same_run(ours, serial, *decisions):
    """Compare `finished` runs: the `decisions` of each row exactly, all else to 1e-8."""
    assert ours.iterations == serial.iterations
    assert ours.status == serial.status
    for name in decisions:
        assert [getattr(row, name) for row in ours.history] == [
            getattr(row, name) for row in serial.history
        ]
    # Steps that are interpolated amplify the rounding of J.
    steps = [[row.step for row in run.history] for run in (ours, serial)]
    np.testing.assert_allclose(*steps, rtol=1e-6)
    for name in ("objective", "cost", "gradient_norm"):
        np.testing.assert_allclose(
            [getattr(row, name) for row in [*ours.history, ours]],
            [getattr(row, name) for row in [*serial.history, serial]],
            rtol=1e-8,
        )
    for name, expected in serial.fields.items():
        atol = 1e-8 * abs(expected).max()
        np.testing.assert_allclose(ours.fields[name], expected, rtol=0, atol=atol)
