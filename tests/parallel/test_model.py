"""The performance model on many ranks: the engine's step counts, and costs that all ranks share."""

import pytest
from registry import PROBLEMS, random_control

import pint
from pint.mgrit import Propagator
from pint.model import Configuration, measure, update_time

SHAPES = [(64, 2, 4), (67, 4, 2), (50, 3, 3), (7, 5, 2), (59, (5, 2, 3), 4)]


class Doubling(Propagator):
    def apply(self, level, steps, states, out):
        out[...] = 2.0 * states


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("relaxation", ["F", "FCF"])
@pytest.mark.parametrize("kind", ["V", "F"])
@pytest.mark.parametrize("adjoint", [False, True])
def test_counts_of_the_engine(world, shape, relaxation, kind, adjoint):
    steps, m, levels = shape
    grid = pint.TimeGrid.uniform(1.0, steps, m, levels, world)
    space = pint.ArraySpace(1)
    solver = pint.MGRIT(grid, space, reverse=adjoint, relaxation=relaxation, cycle=kind)
    solver.solve(Doubling(), solver.allocate(), pint.Accuracy(2))

    costs = measure_once(world)
    configuration = Configuration(levels, m, relaxation, kind)
    schedule = configuration.schedule(costs, configuration.grid(steps, world.size), adjoint)
    schedule.solve(2)
    place = world.size - 1 - world.rank if adjoint else world.rank
    assert tuple(schedule.steps_evaluated[:, place]) == solver.steps_evaluated


COSTS = []


def measure_once(world):
    if not COSTS:
        problem = PROBLEMS["pendulum-running"](pint.TimeGrid.uniform(1.0, 24, 2, 2, world))
        COSTS.append(measure(problem, random_control(problem.controls), seconds=1e-4))
    return COSTS[0]


def test_all_ranks_measure_the_same_costs(world):
    costs = measure_once(world)
    assert world.allgather(costs) == [costs] * world.size
    assert costs.latency > 0 and costs.bandwidth > 0
    if world.size > 1:
        assert costs.latency != 2e-6
    assert update_time(costs, 64, 4, Configuration(2, 4, lagged=True)) > 0


@pytest.mark.parametrize("name", ["dahlquist-trapezoid-loop-terminal", "dense-tanh-vector-trained"])
@pytest.mark.parametrize("shape", [(12, 2, 3), (2, 2, 2), (1, 2, 1)])
def test_few_steps_for_many_ranks(world, name, shape):
    problem = PROBLEMS[name](pint.TimeGrid.uniform(1.0, *shape, world))
    costs = measure(problem, random_control(problem.controls), seconds=1e-4)
    assert world.allgather(costs) == [costs] * world.size
    assert costs.step(0, adjoint=False)(1) > 0 and costs.step(0, adjoint=True)(1) > 0
