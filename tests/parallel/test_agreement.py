"""What ranks must have alike: a difference is an error on all of them that names it."""

import numpy as np
import pytest
import registry

import pint
from pint.comm import agreeing, agreement, private

pytestmark = pytest.mark.skipif(pint.world().size == 1, reason="one rank agrees with itself")


def other(world):
    """Whether this is the rank that differs."""
    return world.rank == world.size - 1


def refused(match):
    """Expect an error that names what differs."""
    return pytest.raises(ValueError, match=match)


def pose(comm, grid=None, options=None, controls=None, regularisers=()):
    stepper = registry.Pendulum()
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)} | (controls or {})
    problem = pint.Problem(
        stepper, registry.PendulumAdjoint(stepper), registry.RunningCost(), fields, regularisers
    )
    grid = {"final_time": 1.0, "steps": 16, "coarsening": 2, "levels": 2} | (grid or {})
    return pint.ReducedFunctional(
        problem, pint.TimeGrid.uniform(**grid, comm=comm), **(options or {})
    )


GRIDS = [{"steps": 32}, {"levels": 3}, {"levels": 1}, {"coarsening": 4}, {"final_time": 1.5}]
OPTIONS = [
    {"relaxation": "F"},
    {"relaxation": ["FCF"]},
    {"c_weight": 1.1},
    {"cycle": "F"},
    {"guess": "zero"},
    {"storage": "C"},
    {"kept_bytes": 0},
    {"chunk_bytes": 100},
    {"unconverged": "error"},
    {"accuracy": pint.Accuracy(5)},
    {"accuracy": pint.Accuracy(30, relative=1e-8)},
]
METHODS = [
    pint.OneShot(),
    pint.ReducedSpace(iterations=3),
    pint.ReducedSpace(gradient_tolerance=1e-3),
    pint.ReducedSpace(hessian=pint.lbfgs(5)),
    pint.ReducedSpace(hessian=pint.bfgs()),
    pint.ReducedSpace(line_search=pint.fixed_step()),
    pint.ReducedSpace(line_search=pint.armijo(), step=0.5),
    pint.ReducedSpace(line_search=pint.armijo(1e-3)),
    pint.ReducedSpace(accuracy=pint.Accuracy(3)),
    pint.External("scipy:L-BFGS-B"),
]


def name_of(options):
    return next(iter(options))


@pytest.mark.parametrize("options", GRIDS, ids=str)
def test_grids(world, options):
    match = rf"TimeGrid\({name_of(options)}.*rank {world.size - 1}"
    with refused(match):
        pose(world, grid=options if other(world) else {})


def test_times(world):
    with refused(r"TimeGrid\(t=.*must be the same on all ranks"):
        pint.TimeGrid(np.linspace(0, 1, 9) ** (1 + other(world)), comm=world)


def test_numbers_of_ranks_in_space(world):
    if world.size in (2, 3):
        with refused(r"`split\(space_size=...\)` must be the same on all ranks"):
            pint.split(world, world.size if other(world) else 1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_of_the_functional(world, options):
    match = rf"`ReducedFunctional\({name_of(options)}.*must be the same on all ranks"
    with refused(match):
        pose(world, options=options if other(world) else {})


@pytest.mark.parametrize(
    "field",
    [
        pint.TimeControl(3),
        pint.TimeControl(2, lower=-1.0),
        pint.TimeControl(2, upper=[1.0, 2.0]),
        pint.TimeControl(2, weight=2.0),
        pint.TimeControl(2, metric="euclidean"),
        pint.TimeControl(2, restrict="mean"),
        pint.TimeControl(2, every=2),
        pint.SharedControl(2),
    ],
)
def test_fields(world, field):
    with refused(r"`ControlSpace\(u.*must be the same on all ranks"):
        pose(world, controls={"u": field} if other(world) else {})


def test_the_order_of_fields(world):
    fields = {"u": pint.TimeControl(2), "a": pint.SharedControl(2), "b": pint.SharedControl(2)}
    mine = dict(reversed(fields.items())) if other(world) else fields
    with refused(r"`ControlSpace\(fields.*must be the same on all ranks"):
        pint.ControlSpace(pint.TimeGrid.uniform(1.0, 16, comm=world), **mine)


def test_a_function_that_some_ranks_do_not_call(world):
    functional = pose(world)
    with refused(rf"rank 0 has called `TimeGrid`, and rank {world.size - 1} `control`"):
        functional.control(theta=1.0) if other(world) else pint.TimeGrid.uniform(1, 8, comm=world)
    assert np.isfinite(functional.value(functional.control(theta=1.0)))


def test_set_up_costs_a_reduction_for_each_object(world, monkeypatch):
    sizes, usual = [], agreement.reduce
    monkeypatch.setattr(
        agreement, "reduce", lambda comm, *rest: sizes.append(comm.size) or usual(comm, *rest)
    )
    pose(world)  # grid, controls, functional, its engine; ranks in space there are none
    assert sum(size > 1 for size in sizes) == 4


def test_regularisers(world):
    u = ["u"]
    for terms in (
        [pint.Tikhonov(1e-3, u)],
        [pint.Tikhonov(1e-2, ["theta"])],
        [pint.Tikhonov(1e-2, u), pint.Smoothness(1.0, u)],
        [pint.Smoothness(1e-2, u)],
    ):
        mine = terms if other(world) else [pint.Tikhonov(1e-2, u)]
        with refused(r"`ReducedFunctional\(problem.regularisers.*rank"):
            pose(world, regularisers=mine)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_methods(world, method):
    mine = method if other(world) else pint.ReducedSpace()
    with refused(r"`minimize\(method.*must be the same on all ranks"):
        pint.minimize(pose(world), method=mine)


def test_the_other_arguments_of_minimize(world, tmp_path):
    functional, folder = pose(world), world.bcast(tmp_path)
    for name, options in {
        "callback": {"callback": print},
        "checkpoint": {"checkpoint": pint.Checkpoint(folder / "a.npz")},
    }.items():
        with refused(rf"`minimize\({name}.*must be the same"):
            pint.minimize(functional, **(options if other(world) else {}))
    rng = np.random.default_rng
    for name, (usual, differing) in {
        "path": ({}, {"path": folder / "b.npz"}),
        "random": ({"random": rng(0)}, {"random": rng(1)}),
        "interval": ({}, {"interval": 1.0}),
    }.items():
        options = {"path": folder / "c.npz"} | (differing if other(world) else usual)
        with refused(rf"`minimize\(checkpoint.{name}.*must be the same"):
            pint.minimize(functional, checkpoint=pint.Checkpoint(**options))
        options["path"].unlink(missing_ok=True)


def test_shared_fields_of_a_control(world):
    functional = pose(world)
    with refused(r"`control\(theta=...\)` must be the same on all ranks"):
        functional.control(theta=float(world.rank))
    with refused(r"`control\(u=...\)` must be the same on all ranks"):
        functional.control(u=np.random.default_rng(world.rank).normal(size=(16, 2)))
    control = functional.control(theta=1.0)
    if other(world):
        control["theta"][1] = 2.0
    for call in (
        functional.value,
        functional.gradient,
        lambda control: pint.minimize(functional, control),
        lambda control: pint.verify.taylor_test(functional, control),
        lambda control: pint.verify.check_problem(functional.problem, functional.grid, control),
    ):
        with refused(r"theta=...\)` must be the same on all ranks"):
            call(control)
    # The ranks are still in step.
    assert np.isfinite(functional.value(functional.control(theta=1.0)))


def test_paths_of_controls(world, tmp_path):
    control = pose(world).control(theta=1.0)
    for call in (control.save, control.space.load):
        with refused(r"path=...\)` must be the same on all ranks"):
            call(tmp_path / f"{other(world)}.npz")


def test_arguments_of_other_functions(world):
    functional = pose(world)
    control = functional.control(u=0.5, theta=1.0)
    fine = pose(world, {"steps": 32}).controls
    words = ("linear" if other(world) else "constant", int(other(world)))
    for name, call in {
        r"prolong\(interpolate": lambda word, seed: pint.prolong(control, fine, word),
        r"taylor_test\(seed": lambda word, seed: pint.verify.taylor_test(
            functional, control, seed=seed
        ),
        r"taylor_test\(exact": lambda word, seed: pint.verify.taylor_test(
            functional, control, exact=not seed
        ),
        r"check_problem\(seed": lambda word, seed: pint.verify.check_problem(
            functional.problem, functional.grid, control, seed
        ),
    }.items():
        with refused(rf"`{name}=...\)` must be the same on all ranks"):
            call(*words)


def test_objects_of_the_user_that_differ(world):
    """Data is refused; what may be a counter, or the number of the rank, is told."""

    class Pendulum(registry.Pendulum):
        def __init__(self, target):
            super().__init__()
            self.target = target

    def functional_of(stepper):
        problem = pint.Problem(
            stepper,
            registry.PendulumAdjoint(stepper),
            registry.RunningCost(),
            {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)},
        )
        pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 8, comm=world))

    for target in (np.full(3, float(other(world))), 1.0 + other(world)):
        with refused(r"problem.stepper.target=...\)` must be the same.*`may_differ`"):
            functional_of(Pendulum(target))
    stepper = Pendulum(world.rank)
    if world.rank == 0:
        with pytest.warns(UserWarning, match=r"problem.stepper.target.*`may_differ`"):
            functional_of(stepper)
    else:
        functional_of(stepper)
    Pendulum.may_differ = ("target",)
    functional_of(Pendulum(float(world.rank)))


WRONG_AND_RIGHT = {
    "steps": lambda grid, functional, steps: pint.TimeGrid.uniform(
        1.0, 0 if steps else 8, comm=grid.comm
    ),
    "coarsening": lambda grid, functional, wrong: pint.TimeGrid.uniform(
        1.0, 8, 9 if wrong else 2, 2, comm=grid.comm
    ),
    "guess": lambda grid, functional, wrong: pint.ReducedFunctional(
        functional.problem, grid, guess="x" if wrong else "nested"
    ),
    "field": lambda grid, functional, wrong: functional.control(**{"v" if wrong else "u": 1.0}),
    "NaN": lambda grid, functional, wrong: functional.control(theta=np.nan if wrong else 1.0),
    "control must be": lambda grid, functional, wrong: functional.value(
        3.0 if wrong else functional.controls.zeros()
    ),
    "got float": lambda grid, functional, wrong: pint.minimize(functional, 3.0 if wrong else None),
    "callback": lambda grid, functional, wrong: pint.minimize(
        functional, callback=3 if wrong else None
    ),
    "method": lambda grid, functional, wrong: pint.minimize(
        functional, method="x" if wrong else pint.ReducedSpace()
    ),
}
"""Calls that are a mistake, or none, and what the error names."""


@pytest.mark.parametrize("name", WRONG_AND_RIGHT)
def test_a_mistake_of_one_rank_is_an_error_on_all(world, name):
    """Without a hang, and the ranks are in step afterwards."""
    functional, call = pose(world), WRONG_AND_RIGHT[name]
    with pytest.raises((TypeError, ValueError), match=name):
        call(functional.grid, functional, True)
    expected = (TypeError, ValueError) if other(world) else RuntimeError
    with pytest.raises(expected, match=name):  # the others quote it
        call(functional.grid, functional, other(world))
    assert np.isfinite(functional.value(functional.controls.zeros()))


def test_any_exception_of_one_rank_is_told_on_all(world):
    for kind in (KeyError, StopIteration, MemoryError, KeyboardInterrupt, SystemExit, RuntimeError):
        expected = kind if other(world) else RuntimeError
        match = "why" if other(world) else f"rank {world.size - 1} with {kind.__name__}: .*why"
        with pytest.raises(expected, match=match), agreeing(private(world, "comm"), "work"):
            if other(world):
                raise kind("why")
