"""Steps on PETSc vectors on every split of the ranks, against one rank; memory; failures."""

import numpy as np
import pytest
from parallel.cases import each_split
from parallel.test_petsc import growth
from petsc_equations import problem_of

import pint
from pint.comm import SerialComm, split
from pint.equations import March

pytestmark = pytest.mark.petsc


def makers(name):
    """Return what makes a step of an equation, and what makes its adjoint."""
    from pint.petsc import ExplicitAdjoint, ExplicitStep, ImplicitAdjoint, ImplicitStep

    if name == "rk2":
        return lambda one: ExplicitStep(one, name), ExplicitAdjoint
    # A factorisation with few messages; PETSc's default where it has MUMPS is tested below.
    options = {"pc_type": "redundant"}
    return lambda one: ImplicitStep(one, name, options=options), ImplicitAdjoint


def functional_of(name, comms, levels):
    problem = problem_of(comms[1], *makers(name), mass="lumped" if name == "rk2" else "matrix")
    grid = pint.TimeGrid.uniform(0.05, 5, 2, levels, comms[0])
    functional = pint.ReducedFunctional(problem, grid, accuracy=pint.Accuracy(2))
    random = np.random.default_rng(0)
    blocks = {"v": 0.3 * random.standard_normal((5, 11)), "w": random.uniform(-1, 1, (5, 1))}
    control = functional.control(**blocks, p=np.array([0.2, 0.1]), q=np.array([0.3, -0.2]))
    return functional, control


@each_split
@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("implicit-euler", 2),
        ("midpoint", 2),
        ("crank-nicolson", 2),
        ("sdirk2", 2),
        ("rk2", 2),
    ],
)
def test_equal_numbers(name, levels, space_size, world):
    """A nonlinear equation with mass, boundary values, and controls of every kind."""
    serial, expected = functional_of(name, (SerialComm(), SerialComm()), levels)
    functional, control = functional_of(name, split(world, space_size), levels)
    assert functional.value(control) == pytest.approx(serial.value(expected), rel=1e-12)
    gradient, expected = functional.gradient(control), serial.gradient(expected)
    for field, values in expected.gather().items():
        size = np.abs(values).max()
        np.testing.assert_allclose(gradient.gather()[field], values, rtol=0, atol=1e-11 * size)
    functional.problem.stepper.destroy()


@each_split
def test_a_nonlinear_equation_in_two_dimensions(space_size, world):
    from problems.allen_cahn_petsc import AllenCahn, allen_cahn_problem

    found = []
    for comms in ((SerialComm(), SerialComm()), split(world, space_size)):
        problem = allen_cahn_problem(AllenCahn(6), comms[1])
        grid = pint.TimeGrid.uniform(0.1, 4, 2, 2, comms[0])
        functional = pint.ReducedFunctional(problem, grid)
        control = functional.control(u=0.2)
        found.append(
            (functional.value(control), functional.controls.norm(functional.gradient(control)))
        )
    assert found[1] == pytest.approx(found[0], rel=1e-10)


def diffusion(comm, size, temporaries):
    """Return ``y' = y_xx - y^3`` whose methods make temporary vectors, of `size` numbers a rank."""
    from petsc4py import PETSc

    from pint.petsc import Equation, ImplicitAdjoint, ImplicitStep

    petsc_comm = PETSc.COMM_SELF if comm.size == 1 else comm
    mesh = PETSc.DMDA().create([size * comm.size], stencil_width=1, comm=petsc_comm)

    class Cubic(Equation):
        template, controls = mesh, {"u": 1.0}
        initial_state = np.ones(size)

        def f(self, t, y, u, theta, out):
            for _ in range(temporaries):
                copy = y.copy()
                copy.scale(-1.0)
            out.pointwiseMult(copy, y)
            out.pointwiseMult(out, y)

        def jacobian(self, t, y, u, theta, matrix):
            squares = y.duplicate()
            squares.pointwiseMult(y, y)
            squares.scale(-3.0)
            matrix.setDiagonal(squares)

    class End(pint.Objective):
        def terminal(self, y, theta):
            return 0.5 * y.dot(y)

        def terminal_derivative(self, y, theta):
            return y.copy(), {}

    step = ImplicitStep(
        Cubic(), prefix="memory_", options={"ksp_type": "preonly", "pc_type": "jacobi"}
    )
    controls = {"u": pint.TimeControl(size, comm=comm)}
    return pint.Problem(step, ImplicitAdjoint(step), End(), controls)


@pytest.mark.pair
@each_split
def test_temporaries_of_callbacks_are_freed(space_size, world):
    """Left to Python, 15 solves and adjoints would leave vectors of some 100 MB."""
    comms = split(world, space_size)
    grid = pint.TimeGrid.uniform(1.0, 2 * comms[0].size, comm=comms[0])
    functional = pint.ReducedFunctional(diffusion(comms[1], 20_000, 2), grid)
    control = functional.control(u=0.5)
    state, adjoint = functional.state.new(), functional.adjoint.new()

    def work():
        functional.state.solve(state, control, March())
        functional.adjoint.solve(adjoint, state, March())

    assert growth(work, 24, warm_up=9) < 6e6
    functional.problem.stepper.destroy()


@pytest.mark.pair
@each_split
def test_steps_that_are_destroyed_or_dropped_leave_nothing(space_size, world):
    comms = split(world, space_size)
    grid = pint.TimeGrid.uniform(1.0, 2 * comms[0].size, comm=comms[0])

    def work():
        functional = pint.ReducedFunctional(diffusion(comms[1], 20_000, 1), grid)
        functional.gradient(functional.control(u=0.5))
        functional.problem.adjoint.destroy()
        functional.problem.stepper.destroy()

    assert growth(work, 14, warm_up=6) < 6e6


@each_split
@pytest.mark.parametrize("method", ["f", "jacobian"])
def test_a_method_that_fails_on_one_rank_counts_as_nan_on_all(method, space_size, world):
    functional, control = functional_of("crank-nicolson", split(world, space_size), 1)
    equation = functional.problem.stepper.equation
    own, places = getattr(equation, method), equation.template.getOwnershipRange()

    def failing(*arguments):
        own(*arguments)  # with its collective calls
        if places[0] == 0:
            raise pint.NumericalError("no such state")

    setattr(equation, method, failing)
    with pytest.raises(pint.NotFiniteError, match=rf"Reaction.{method}.*no such state"):
        functional.value(control)
    setattr(equation, method, own)
    assert np.isfinite(functional.value(control))


@each_split
def test_a_first_state_of_another_length_on_one_rank_is_told_by_all(space_size, world):
    functional, _ = functional_of("crank-nicolson", split(world, space_size), 2)
    problem, comm = functional.problem, functional.space.comm
    if comm.rank == comm.size - 1:
        problem.stepper.equation.initial_state = np.ones(1000)
    with pytest.raises((ValueError, RuntimeError), match=r"initial. must return this rank's"):
        pint.ReducedFunctional(problem, functional.grid)


@each_split
def test_boundary_rows_that_one_rank_does_not_have_are_refused_by_all(space_size, world):
    from petsc4py import PETSc

    from pint.petsc import ImplicitStep, LinearEquation

    comm = split(world, space_size)[1]
    petsc_comm = PETSc.COMM_SELF if comm.size == 1 else comm
    matrix = PETSc.Mat().createAIJ(6, nnz=1, comm=petsc_comm)
    matrix.setUp()
    matrix.assemble()
    boundary = [7] if comm.rank == comm.size - 1 else []
    kind = ValueError if boundary else RuntimeError
    with pytest.raises(kind, match="boundary` must hold places"):
        ImplicitStep(LinearEquation(matrix, boundary=boundary))


@each_split
def test_diverging_solvers_end_all_ranks_with_one_line(space_size, world):
    comms = split(world, space_size)
    from pint.petsc import ImplicitAdjoint, ImplicitStep

    options = {"ksp_type": "gmres", "pc_type": "none", "ksp_max_it": 1, "ksp_rtol": 1e-14}
    problem = problem_of(
        comms[1], lambda one: ImplicitStep(one, options=options, reuse=0.0), ImplicitAdjoint
    )
    functional = pint.ReducedFunctional(
        problem, pint.TimeGrid.uniform(1.0, 4 * comms[0].size, comm=comms[0])
    )
    with pytest.raises(pint.NotFiniteError, match=r"ImplicitStep.step.*DIVERGED") as caught:
        functional.value(functional.control(v=1.0))
    assert "\n" not in str(caught.value)
