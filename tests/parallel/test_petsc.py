"""PETSc states on every split of the ranks into time x space, against numpy states on one rank."""

import resource
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from parallel.cases import each_split

import pint
from pint.comm import split
from pint.equations import March
from problems.heat import Heat, manufactured

pytestmark = pytest.mark.petsc

PROBLEMS = {
    "distributed": Heat("distributed", 7),
    "distributed-2d": Heat("distributed", 5, 2, "crank-nicolson"),
    "neumann": Heat("neumann", 8, 1, "crank-nicolson"),
    "initial-2d": Heat("initial", 5, 2),
}

HALVED = {
    "distributed": Heat("distributed", 15),
    "distributed-2d": Heat("distributed", 7, 2),
    "neumann": Heat("neumann", 12, 1, "crank-nicolson"),
    "initial-2d": Heat("initial", 7, 2, nu=0.02),
}
"""Meshes that can be halved, once or twice."""


def petsc_functional(heat, comms, steps, levels, coarsening=3, halved=False, **options):
    from problems.heat_petsc import petsc_problem

    grid = pint.TimeGrid.uniform(1.0, steps, coarsening, levels, comms[0])
    problem, mesh = petsc_problem(
        heat, comms[1], partial(manufactured, heat, 1.0), heat.halvings if halved else ()
    )
    functional = pint.ReducedFunctional(problem, grid, **options)
    functional.mesh = mesh
    return functional


def numpy_functional(heat, steps, levels, coarsening=3, halved=False, space_size=1, **options):
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening, levels)
    data, meshes = partial(manufactured, heat, 1.0), [heat]
    for mesh in heat.halvings:  # meshes with fewer points than ranks in space are left out
        meshes.append(mesh if mesh.points >= space_size else meshes[-1])
    problem = heat.problem(data(), data if halved else None, meshes[1:])
    return pint.ReducedFunctional(problem, grid, **options)


def random_blocks(functional, seed=0):
    space = functional.controls
    field = space.fields["u"]
    steps = (functional.grid.steps,) if "u" in space.time_fields else ()
    return np.random.default_rng(seed).standard_normal((*steps, *field.shape))


@each_split
@pytest.mark.parametrize("name", HALVED)
def test_halving_meshes(name, space_size, world):
    """After two cycles from the nested guess, when what coarse levels have done still shows."""
    heat, comms = HALVED[name], split(world, space_size)
    options = {"coarsening": 2, "halved": True, "accuracy": pint.Accuracy(2)}
    serial = numpy_functional(heat, 12, 3, space_size=space_size, **options)
    functional = petsc_functional(heat, comms, 12, 3, **options)
    blocks = random_blocks(serial)
    expected = serial.controls.control(u=blocks)
    control = functional.controls.control(u=in_petsc_order(functional, blocks))
    assert functional.value(control) == pytest.approx(serial.value(expected), rel=1e-12)
    gradient, expected = functional.gradient(control), serial.gradient(expected)
    np.testing.assert_allclose(
        gradient.gather()["u"], in_petsc_order(functional, expected["u"]), rtol=1e-9, atol=1e-11
    )
    sizes = [level.space.shape for level in functional.state.solver.levels]
    assert (sizes[1] != sizes[0]) == (heat.coarser.points >= space_size)
    functional.problem.stepper.destroy()


def in_petsc_order(functional, blocks):
    """Reorder blocks whose last axis runs over the unknowns in natural order."""
    mesh = functional.mesh
    if mesh.heat.control == "neumann":
        return blocks
    return blocks[..., np.concatenate(mesh.comm.allgather(mesh.natural))]


@each_split
@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("distributed", 1),
        ("distributed-2d", 2),
        ("neumann", 1),
        ("neumann", 2),
        ("initial-2d", 1),
        ("initial-2d", 2),
    ],
)
def test_value_and_gradient(name, levels, space_size, world):
    heat, comms, steps = PROBLEMS[name], split(world, space_size), 10
    serial, functional = (
        numpy_functional(heat, steps, levels),
        petsc_functional(heat, comms, steps, levels),
    )
    blocks = random_blocks(serial)
    expected = serial.controls.control(u=blocks)
    control = functional.controls.control(u=in_petsc_order(functional, blocks))
    assert functional.value(control) == pytest.approx(serial.value(expected), rel=1e-12)
    gradient, expected = functional.gradient(control), serial.gradient(expected)
    np.testing.assert_allclose(
        gradient.gather()["u"], in_petsc_order(functional, expected["u"]), rtol=1e-10, atol=1e-12
    )
    norm = functional.controls.norm(gradient)
    assert norm == pytest.approx(serial.controls.norm(expected), rel=1e-12)


@pytest.mark.pair
@each_split
@pytest.mark.parametrize("method", ["own", "scipy:L-BFGS-B", "tao:blmvm"])
def test_optimum_by_every_kind_of_optimiser(method, space_size, world):
    heat, comms = PROBLEMS["distributed"], split(world, space_size)
    options = {"gradient_tolerance": 1e-7, "iterations": 60}
    serial, functional = numpy_functional(heat, 8, 1), petsc_functional(heat, comms, 8, 1)
    own = pint.ReducedSpace(**options)
    expected = pint.minimize(serial, method=own)
    result = pint.minimize(
        functional, method=own if method == "own" else pint.External(method, **options)
    )
    assert result.status is pint.Status.CONVERGED
    assert result.objective == pytest.approx(expected.objective, rel=1e-11)


@each_split
def test_saved_control_is_loaded_again(space_size, world, tmp_path_factory):
    functional = petsc_functional(PROBLEMS["distributed-2d"], split(world, space_size), 6, 1)
    space = functional.controls
    control = space.control(u=random_blocks(numpy_functional(PROBLEMS["distributed-2d"], 6, 1)))
    folder = world.bcast(tmp_path_factory.mktemp("saved") if world.rank == 0 else None, root=0)
    control.save(folder / "control.npz")
    world.Barrier()
    loaded = space.load(folder / "control.npz")
    np.testing.assert_array_equal(loaded.vector, control.vector)


@pytest.mark.pair
@each_split
@pytest.mark.parametrize("levels", [1, 2])
def test_a_resumed_run_is_the_uninterrupted_one(levels, space_size, world, tmp_path_factory):
    """Saved by ranks in time x space, resumed by them, and refused by others in space."""
    path = world.bcast(tmp_path_factory.mktemp("run") if world.rank == 0 else None, root=0) / "run"

    def run(comms, iterations, **options):
        functional = petsc_functional(PROBLEMS["distributed-2d"], comms, 8, levels)
        method = pint.ReducedSpace(iterations=iterations, gradient_tolerance=0.0)
        return pint.minimize(functional, method=method, **options)

    comms = split(world, space_size)
    whole = run(comms, 8)
    run(comms, 3, checkpoint=pint.Checkpoint(path))
    resumed = run(comms, 8, checkpoint=pint.Checkpoint(path, resume=True))
    for row, other in zip(resumed.history, whole.history, strict=True):
        assert row.objective == pytest.approx(other.objective, rel=1e-9)
    np.testing.assert_allclose(
        resumed.control.gather()["u"], whole.control.gather()["u"], rtol=1e-6, atol=1e-8
    )
    if space_size > 1:
        with pytest.raises(ValueError, match="space_ranks"):
            run(split(world, 1), 8, checkpoint=pint.Checkpoint(path, resume=True))


@pytest.mark.pair
@each_split
def test_a_linear_solver_that_fails_ends_all_ranks_with_its_message(space_size, world):
    from petsc4py import PETSc

    heat, comms = PROBLEMS["distributed"], split(world, space_size)
    expected = petsc_functional(heat, comms, 10, 2)
    control = expected.controls.control(u=1.0)
    database = PETSc.Options("heat_")
    values = {"ksp_type": "cg", "pc_type": "jacobi", "ksp_rtol": 1e-14, "ksp_max_it": 1}
    for name, value in values.items():
        database[name] = value
    try:
        functional = petsc_functional(heat, comms, 10, 2)
        message = r"`ImplicitStep.step` raised .* linear solver .* for step size"
        with pytest.raises(pint.NotFiniteError, match=message):
            functional.value(control)
    finally:
        for name in values:
            database.delValue(name)
    # Solvers that have failed are made anew, with the options of then.
    assert functional.value(control) == pytest.approx(expected.value(control), rel=1e-10)


def resident():
    """Return the resident memory of this process in bytes."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def growth(work, count, warm_up):
    """Return by how many bytes the memory grows over calls of `work`, after some of them."""
    for number in range(count):
        if number == warm_up:
            before = resident()
        work()
    return resident() - before


def decay(comm, size=20_000):
    """Return a problem whose steps make two temporary vectors of `size` numbers a rank."""
    from petsc4py import PETSc

    from pint.states.petsc import PetscSpace

    petsc_comm = PETSc.COMM_SELF if comm.size == 1 else comm
    template = PETSc.Vec().createMPI((size, PETSc.DECIDE), comm=petsc_comm)

    class Step(pint.TimeStepper):
        space = PetscSpace(template)

        def initial(self, theta):
            start = template.duplicate()
            start.set(1.0)
            return start

        def step(self, s, y, u, theta):
            new, force = y.copy(), y.duplicate()
            force.set(u["u"][0])
            new.axpby(s.dt, 1 - s.dt, force)
            return new

    class Transpose(pint.Adjoint):
        def vjp(self, s, y, u, theta, lam):
            new = lam.copy()
            new.scale(1 - s.dt)
            return new, {"u": np.array([s.dt * lam.sum()])}, {}

    class Square(pint.Objective):
        def terminal(self, y, theta):
            return 0.5 * y.dot(y)

        def terminal_derivative(self, y, theta):
            return y.copy(), {}

    return pint.Problem(Step(), Transpose(), Square(), {"u": pint.TimeControl(1)})


@pytest.mark.pair
@each_split
def test_temporary_vectors_of_methods_are_freed(space_size, world):
    """Left to Python, 60 solves and adjoints would leave vectors of some 200 MB."""
    comms = split(world, space_size)
    grid = pint.TimeGrid.uniform(1.0, 8 * comms[0].size, comm=comms[0])
    functional = pint.ReducedFunctional(decay(comms[1]), grid)
    control = functional.control(u=0.5)
    functional.gradient(control)

    def work():
        functional.state.solve(state, control, March())
        functional.adjoint.solve(adjoint, state, March())
        functional.objective(state)

    state, adjoint = functional.state.new(), functional.adjoint.new()
    assert growth(work, 90, warm_up=30) < 4e6


@pytest.mark.pair
@each_split
def test_spaces_free_what_those_before_them_have_left(space_size, world):
    """Each functional leaves vectors of 3 MB and a few of its space."""
    comms = split(world, space_size)
    grid = pint.TimeGrid.uniform(1.0, 2 * comms[0].size, comm=comms[0])

    def work():
        functional = pint.ReducedFunctional(decay(comms[1]), grid)
        functional.gradient(functional.control(u=0.5))
        functional.space.destroy()

    assert growth(work, 40, warm_up=15) < 4e6


@pytest.mark.pair
def test_memory_does_not_grow_over_a_thousand_solves(world):
    """Each gradient makes 6 KSP solves and lends 8 rows of 1.6 kB; leaked vectors would add up."""
    heat, comms = Heat(points=200 * world.size, nu=1e-6), split(world, world.size)
    functional = petsc_functional(heat, comms, 2, 1)
    space, peaks = functional.controls, []
    for number in range(250):
        functional.gradient(space.control(u=float(number)))
        if number in (49, 249):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[1] - peaks[0] < 1024  # kB
    functional.space.destroy()


def test_wrong_results_of_petsc_methods_are_named(world):
    from petsc4py import PETSc

    from pint.states.petsc import PetscSpace

    with pytest.raises(TypeError, match="template"):
        PetscSpace(np.zeros(3))
    vector = PETSc.Vec().createMPI(4, comm=PETSc.COMM_SELF)
    with pytest.raises(ValueError, match="weight"):
        PetscSpace(vector, weight=0.0)
    with pytest.raises(ValueError, match="space_size"):
        split(world, world.size + 1)


@each_split
def test_conjugate_gradients_start_from_the_guess(space_size, world):
    """From the solution they stop at once, from nearby they stop earlier, at the same solution."""
    heat, comms = PROBLEMS["distributed-2d"], split(world, space_size)
    functional = petsc_functional(heat, comms, 10, 1)
    solver = functional.problem.stepper._solver(0.1)
    right, guess, expected, result = (functional.mesh.da.createGlobalVec() for _ in range(4))
    right.array[:] = np.cos(3.0 * functional.mesh.natural)
    solver.solve(right, expected, guessed=False)
    from_zero = solver.ksp.getIterationNumber()
    for factor, most in ((1.0, 1), (1 + 1e-8, from_zero - 1)):
        expected.copy(guess)
        guess.scale(factor)
        guess.copy(result)
        solver.solve(right, result, guessed=True)
        if space_size > 1:
            assert solver.ksp.getIterationNumber() <= most
        np.testing.assert_allclose(result.array_r, expected.array_r, rtol=0, atol=1e-14)
    solver.solve(right, result, guessed=False)
    np.testing.assert_array_equal(result.array_r, expected.array_r)
