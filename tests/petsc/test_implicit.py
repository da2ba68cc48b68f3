"""Steps on PETSc vectors: their equations, transposes, solves, and what is refused."""

import numpy as np
import pytest
import scipy.optimize
from petsc_equations import SIZE, Dense, problem_of

import pint
from pint.comm import SerialComm
from pint.steppers.sdirk import ORDER_TWO
from pint.verify import check_problem, taylor_test

pytestmark = pytest.mark.petsc

SCHEMES = ("implicit-euler", "midpoint", "crank-nicolson", "sdirk2")


def implicit(scheme, mass="matrix", **options):
    from pint.petsc import ImplicitAdjoint, ImplicitStep

    return problem_of(
        SerialComm(), lambda one: ImplicitStep(one, scheme, **options), ImplicitAdjoint, mass
    )


def explicit(scheme, mass="lumped"):
    from pint.petsc import ExplicitAdjoint, ExplicitStep

    return problem_of(SerialComm(), lambda one: ExplicitStep(one, scheme), ExplicitAdjoint, mass)


def control_of(functional):
    random = np.random.default_rng(0)
    control = functional.control()
    control.vector[...] = 0.3 * random.standard_normal(control.vector.shape)
    control["p"][...] = 0.2, 0.1  # a negative p_0 may lead to infinity
    return control


def solved(residual, start):
    """Return the root of a function by scipy."""
    found = scipy.optimize.root(residual, start, tol=1e-13)
    assert np.abs(residual(found.x)).max() < 1e-12
    return found.x


def dense_step(dense, scheme, t0, dt, y, fields):
    """Return the step by its definition, with dense matrices and scipy's root finder."""
    w, p = fields[1], fields[2]
    rows = dense.boundary

    def f(t, z):
        return dense.f(t, z, *fields)

    def root(residual, t):
        def with_boundary(z):
            values = residual(z)
            values[rows] = z[rows] - dense.boundary_values(t, w, p)
            return values

        return solved(with_boundary, y)

    if scheme == "sdirk2":
        g, t = ORDER_TWO, t0 + ORDER_TWO * dt
        z = root(lambda z: dense.M @ (z - y) - g * dt * f(t, z), t)
        base = y + (1 - g) / g * (z - y)
        return root(lambda z: dense.M @ (z - base) - g * dt * f(t0 + dt, z), t0 + dt)
    slopes = {
        "implicit-euler": lambda z: f(t0 + dt, z),
        "midpoint": lambda z: f(t0 + dt / 2, (y + z) / 2),
        "crank-nicolson": lambda z: (f(t0, y) + f(t0 + dt, z)) / 2,
    }
    return root(lambda z: dense.M @ (z - y) - dt * slopes[scheme](z), t0 + dt)


@pytest.mark.parametrize("mass", ["matrix", "lumped", None])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_steps_solve_their_equation(scheme, mass):
    functional = pint.ReducedFunctional(implicit(scheme, mass), pint.TimeGrid([0.0, 0.1, 0.3, 0.6]))
    control = control_of(functional)
    value, y, t = functional.value(control), Dense(mass).start, functional.grid.t
    for n in range(3):
        fields = control["v"][n], control["w"][n, 0], control["p"], control["q"]
        y = dense_step(Dense(mass), scheme, t[n], t[n + 1] - t[n], y, fields)
    assert value == pytest.approx(0.5 * y @ y, rel=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_transposes_and_gradients(scheme):
    problem, grid = implicit(scheme), pint.TimeGrid(np.array([0, 0.1, 0.25, 0.4, 0.5]), 2, 2)
    functional = pint.ReducedFunctional(problem, grid)
    control = control_of(functional)
    report = check_problem(problem, grid, control)
    report.require()
    assert not report.not_run
    taylor_test(functional, control).require()


@pytest.mark.parametrize("scheme", ["euler", "rk2", "rk4"])
def test_explicit_steps_with_a_lumped_mass(scheme):
    problem, grid = explicit(scheme), pint.TimeGrid.uniform(0.08, 4, 2, 2)
    functional = pint.ReducedFunctional(problem, grid)
    control = control_of(functional)
    check_problem(problem, grid, control).require()
    taylor_test(functional, control).require()


def test_explicit_and_implicit_steps_meet():
    """With small steps both are near the solution of the same equation."""
    values = []
    for problem in (explicit("rk4"), implicit("crank-nicolson", "lumped")):
        functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(0.1, 64))
        control = functional.control(v=0.3, w=0.0, p=np.array([0.5, 0.1]), q=0.2)
        values.append(functional.value(control))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_a_gradient_solves_one_transposed_system_a_step():
    for scheme, stages in (("crank-nicolson", 1), ("sdirk2", 2)):
        problem = implicit(scheme)
        functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(0.5, 10))
        control, counts = control_of(functional), problem.stepper.counts
        functional.value(control)
        solves = counts.solves
        assert counts.transposed == 0 and solves < 11 * 10 * stages
        assert counts.set_ups <= 10 * 2 * stages  # factors serve several iterations
        functional.gradient(control)  # it begins with the states that are there
        assert counts.transposed == 10 * stages
        assert counts.solves <= 2 * solves


def test_factors_kept_over_iterations_save_set_ups_and_change_nothing():
    found = {}
    for reuse in (0.0, 0.1):
        problem = implicit("crank-nicolson", reuse=reuse)
        functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(0.5, 10))
        found[reuse] = functional.value(control_of(functional)), problem.stepper.counts.set_ups
    assert found[0.1][1] < 0.7 * found[0.0][1]
    assert found[0.1][0] == pytest.approx(found[0.0][0], rel=1e-13)


def heat(size=9, **options):
    """Return ``y' = y_xx + u`` on (0, 1) between y = t and y = 1, and its stiffness."""
    from petsc4py import PETSc

    from pint.petsc import LinearEquation

    h, one = 1 / (size - 1), np.ones(size - 1)
    dense = (np.diag(one, 1) + np.diag(one, -1) - 2 * np.eye(size)) / h**2
    matrix = PETSc.Mat().createAIJ(size, nnz=3, comm=PETSc.COMM_SELF)
    for row, column in zip(*np.nonzero(dense), strict=True):
        matrix[row, column] = dense[row, column]
    matrix.assemble()
    usual = {"controls": {"u": 1.0}, "boundary": [0, size - 1], "source": np.cos}
    equation = LinearEquation(
        matrix, boundary_values=lambda t: np.array([t, 1.0]), **(usual | options)
    )
    return equation, dense


class End(pint.Objective):
    def terminal(self, y, theta):
        return 0.5 * y.dot(y)

    def terminal_derivative(self, y, theta):
        return y.copy(), {}


@pytest.mark.parametrize("options", [{}, {"ksp_type": "cg", "pc_type": "jacobi"}])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_linear_equations_keep_their_factors(scheme, options):
    """The march is that of dense matrices; conjugate gradients need the symmetric matrix."""
    from pint.petsc import ImplicitAdjoint, ImplicitStep

    equation, dense = heat()
    step = ImplicitStep(equation, scheme, options=options, prefix="heat_test_")
    problem = pint.Problem(step, ImplicitAdjoint(step), End(), {"u": pint.TimeControl(9)})
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 8, 2, 2))
    control = functional.control(u=np.linspace(0, 1, 72).reshape(8, 9))
    report = check_problem(problem, functional.grid, control)
    report.require()
    assert step.uses_guess == bool(options)
    claims = [check.claim for check in report.checks]
    assert any(one.startswith("changes with `s.guess`") for one in claims) == bool(options)
    # Two step sizes, of each one matrix; check_problem tries a few others.
    before = step.counts.set_ups
    value = functional.value(control)
    functional.gradient(control)
    assert step.counts.set_ups - before <= 2

    y, dt, g = np.zeros(9), 1 / 8, ORDER_TWO
    for n in range(8):
        t, u = n / 8, control["u"][n]

        def solve(h, right, until):
            system = np.eye(9) - h * dense
            system[[0, -1]] = 0
            system[0, 0] = system[-1, -1] = 1
            right[0], right[-1] = until, 1.0
            return np.linalg.solve(system, right)

        if scheme == "implicit-euler":
            y = solve(dt, y + dt * (np.cos(t + dt) + u), t + dt)
        elif scheme == "sdirk2":
            z = solve(g * dt, y + g * dt * (np.cos(t + g * dt) + u), t + g * dt)
            y = y + (1 - g) / g * (z - y)
            y = solve(g * dt, y + g * dt * (np.cos(t + dt) + u), t + dt)
        else:
            at = np.cos(t + dt / 2) if scheme == "midpoint" else (np.cos(t) + np.cos(t + dt)) / 2
            y = solve(dt / 2, y + dt / 2 * dense @ y + dt * (at + u), t + dt)
    assert value == pytest.approx(0.5 * y @ y, rel=1e-10)


def test_options_of_the_command_line_precede_those_of_the_program():
    from petsc4py import PETSc

    from pint.petsc import ImplicitStep

    database = PETSc.Options("mine_")
    database["ksp_type"] = "gmres"
    try:
        for options in ({}, {"ksp_type": "preonly"}):
            assert ImplicitStep(heat()[0], prefix="mine_", options=options).uses_guess
    finally:
        database.delValue("ksp_type")
    step = ImplicitStep(heat()[0], prefix="mine_", options={"ksp_type": "gmres"})
    assert step.uses_guess and not database.hasName("ksp_type")


# What goes wrong


def test_equations_without_a_solution_count_as_nan():
    """A line search shortens its step; a first solve ends with the message of the step."""
    problem = implicit("implicit-euler", options={"snes_max_it": 8}, reuse=0.0)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(0.5, 4))
    control = functional.control(p=np.array([-1e6, 0.0]))
    with pytest.raises(pint.NotFiniteError, match=r"ImplicitStep.step.*Newton's method.*t = 0"):
        functional.value(control)
    assert np.isfinite(functional.value(functional.control(p=0.1)))


@pytest.mark.parametrize("method", ["f", "jacobian"])
def test_methods_that_raise_numerical_errors_count_as_nan(method):
    problem = implicit("crank-nicolson")
    equation = problem.stepper.equation
    own = getattr(equation, method)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(0.5, 4))

    def failing(*arguments):
        raise pint.NumericalError("no such state")

    setattr(equation, method, failing)
    with pytest.raises(pint.NotFiniteError, match=f"Reaction.{method}.*no such state"):
        functional.value(functional.control())
    setattr(equation, method, own)
    assert np.isfinite(functional.value(functional.control()))


@pytest.mark.parametrize("package", ["petsc", "mumps"])
def test_singular_matrices_count_as_nan(package):
    from petsc4py import PETSc

    from pint.petsc import ImplicitAdjoint, ImplicitStep, LinearEquation

    diagonal = PETSc.Mat().createAIJ(3, nnz=1, comm=PETSc.COMM_SELF)
    for place in range(3):
        diagonal[place, place] = 4.0  # of which a step of 1/4 makes 1 - 4/4
    diagonal.assemble()
    step = ImplicitStep(
        LinearEquation(diagonal, controls={"u": 1.0}, initial_state=np.ones(3)),
        options={"pc_factor_mat_solver_type": package},
        prefix="singular_",
    )
    problem = pint.Problem(step, ImplicitAdjoint(step), End(), {"u": pint.TimeControl(3)})
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 4))
    with pytest.raises(pint.NotFiniteError, match=r"ImplicitStep.step.*singular"):
        functional.value(functional.control())


def test_states_that_are_not_finite_stay_so():
    for problem in (implicit("crank-nicolson"), implicit("sdirk2", None)):
        problem.stepper.equation.initial_state = np.full(SIZE, np.nan)
        functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(0.5, 4))
        with pytest.raises(pint.NotFiniteError, match="initial"):
            functional.value(functional.control())


def wrong_parts():
    from petsc4py import PETSc

    small = PETSc.Mat().createDense((3, 3), comm=PETSc.COMM_SELF).setUp()
    small.assemble()
    wide = PETSc.Mat().createDense((9, 4), comm=PETSc.COMM_SELF).setUp()
    return {
        "mass_layout": ({"mass": small}, ValueError, "mass` must be divided"),
        "mass_kind": ({"mass": np.eye(9)}, TypeError, "mass` must be a PETSc.Mat"),
        "boundary": ({"boundary": [0, 9]}, ValueError, "boundary` must hold places.*got 9"),
        "control_rows": ({"controls": {"u": small}}, ValueError, "a row for each number"),
        "control_kind": ({"controls": {"u": "B"}}, TypeError, "controls\\['u'\\]"),
        "control_columns": ({"controls": {"u": wide}}, ValueError, "4 columns.*9 numbers"),
        "control_name": ({"controls": {"v": 1.0}}, ValueError, "field `v`.*its fields are u"),
        "initial": ({"initial_state": np.ones(8)}, ValueError, "initial` must return.* 9 numbers"),
        "values": (
            {"boundary": [0, 1, 2]},
            ValueError,
            r"boundary_values` must return.* 3 numbers.*\(2,\)",
        ),
        "source": (
            {"source": lambda t: np.ones(3)},
            ValueError,
            "source` must return this rank's 9",
        ),
        "template": (
            {"template": PETSc.Vec().createMPI(4, comm=PETSc.COMM_SELF)},
            ValueError,
            "stiffness` must be divided",
        ),
    }


@pytest.mark.parametrize(
    "name",
    [
        "mass_layout",
        "mass_kind",
        "boundary",
        "control_rows",
        "control_kind",
        "control_columns",
        "control_name",
        "template",
        "initial",
        "values",
        "source",
    ],
)
def test_parts_that_do_not_fit_are_refused_in_one_line(name):
    from pint.petsc import ImplicitAdjoint, ImplicitStep

    options, kind, message = wrong_parts()[name]
    with pytest.raises(kind, match=message) as caught:
        step = ImplicitStep(heat(**options)[0])
        problem = pint.Problem(step, ImplicitAdjoint(step), End(), {"u": pint.TimeControl(9)})
        functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 4))
        functional.value(functional.control())
    assert "\n" not in str(caught.value)


def test_wrong_arguments_are_named():
    from petsc4py import PETSc

    from pint.petsc import ExplicitStep, ImplicitAdjoint, ImplicitStep, LinearEquation

    equation, _ = heat()
    for make, kind, message in (
        (lambda: ImplicitStep(None), TypeError, "equation"),
        (lambda: ImplicitStep(equation, "euler"), ValueError, "scheme"),
        (lambda: ImplicitStep(equation, reuse=1.0), ValueError, "reuse"),
        (lambda: ImplicitStep(equation, prefix=3), TypeError, "prefix"),
        (lambda: ImplicitStep(equation, coarse=[3]), TypeError, "coarse"),
        (lambda: ImplicitAdjoint(equation), TypeError, "stepper"),
        (lambda: LinearEquation(np.eye(3)), TypeError, "stiffness"),
        (lambda: ExplicitStep(equation, "rk5"), ValueError, "scheme"),
        (lambda: explicit("rk4", "matrix"), TypeError, "lumped `mass`"),
        (
            lambda: ExplicitStep(heat(mass=PETSc.Vec().createSeq(9, comm=PETSc.COMM_SELF))[0]),
            ValueError,
            "positive",
        ),
    ):
        with pytest.raises(kind, match=message):
            make()


def test_solvers_that_petsc_does_not_have_are_named():
    from pint.petsc import ImplicitStep

    problem = implicit("implicit-euler", options={"pc_type": "gamg", "ksp_type": "minres"})
    assert isinstance(problem.stepper, ImplicitStep)
    with pytest.raises(ValueError, match="pde_ksp_type"):
        functional = pint.ReducedFunctional(
            implicit("implicit-euler", options={"pc_factor_mat_solver_type": "strumpack"}),
            pint.TimeGrid.uniform(0.5, 4),
        )
        functional.value(functional.control())
