"""Finite elements: against textbooks, forms of scikit-fem, and optima in closed form."""

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("skfem")

import skfem
from skfem.helpers import dot, grad

import pint
from pint.grid import Steps
from pint.verify import check_problem, taylor_test
from problems.finite_elements import (
    PROBLEMS,
    Advection,
    AllenCahn,
    Burgers,
    DoubleWell,
    Elements,
    HeatBoundary,
    SemiDiscrete,
    Transport,
    interval,
    l_shape,
    lumped_mass,
    square,
)

SCHEMES = ("implicit-euler", "midpoint", "crank-nicolson", "sdirk2")
SMALL = {
    "burgers": Burgers(cells=6),
    "burgers-p2": Burgers(cells=4, degree=2),
    "burgers-graded": Burgers(nodes=(0.0, 0.05, 0.2, 0.5, 0.8, 1.0)),
    "allen-cahn": AllenCahn(cells=3, dim=2),
    "heat-boundary": HeatBoundary(cells=2),
    "advection": Advection(cells=6),
    "advection-upwind": Advection(cells=4, dim=2, stabilisation="upwind"),
}


# Matrices


def test_matrices_of_hat_functions():
    nodes = np.array([0.0, 0.1, 0.4, 1.0])
    of, h = Elements(interval(nodes)), np.diff(nodes)
    mass = (
        scipy.sparse.diags([[h[0], h[0] + h[1], h[1] + h[2], h[2]], h / 2, h / 2], [0, 1, -1]) / 3
    )
    np.testing.assert_allclose(of.mass.toarray(), mass.toarray(), rtol=1e-13, atol=1e-16)
    inner = Elements(interval(nodes), dirichlet=True)
    np.testing.assert_allclose(inner.points[0], nodes[1:-1])
    stiffness = np.array([[1 / h[0] + 1 / h[1], -1 / h[1]], [-1 / h[1], 1 / h[1] + 1 / h[2]]])
    (slope,) = inner.gradients
    np.testing.assert_allclose(inner.matrix(slope, slope).toarray(), stiffness, rtol=1e-13)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize(
    ("mesh", "area", "boundary"), [(interval(3), 1, 2), (square(2), 1, 4), (l_shape(2), 3, 8)]
)
def test_polynomials_are_exact(mesh, area, boundary, degree):
    of = Elements(mesh, degree)
    y = (of.points**degree).sum(axis=0)
    np.testing.assert_allclose(of.values @ y, (of.places**degree).sum(axis=0), atol=1e-13)
    for axis, part in enumerate(of.gradients):
        slope = degree * of.places[axis] ** (degree - 1)
        np.testing.assert_allclose(part @ y, slope, atol=1e-12)
    assert of.mass.sum() == pytest.approx(area, rel=1e-13)
    assert of.boundary.weights.sum() == pytest.approx(boundary)
    assert of.boundary.mass.sum() == pytest.approx(boundary)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("reaction", [Transport(), DoubleWell()], ids=["transport", "double-well"])
def test_right_hand_side_is_that_of_forms(reaction, degree):
    """Forms of scikit-fem, assembled with another quadrature rule."""
    mesh = square(3)
    of = Elements(mesh, degree, dirichlet=True)
    equation = SemiDiscrete(
        of, 0.3, np.zeros(of.size), velocity=[1.0, -0.5], reaction=reaction,
        source=lambda t, x: t * x[0] * x[1],
    )  # fmt: skip
    random = np.random.default_rng(0)
    y, u, t = random.standard_normal((2, of.size)), random.standard_normal((2, of.size)), [0.5, 2.0]
    element = skfem.ElementTriP1() if degree == 1 else skfem.ElementTriP2()
    basis = skfem.Basis(mesh, element, intorder=10)
    inside = basis.complement_dofs(basis.get_dofs())

    @skfem.LinearForm
    def form(v, w):
        slope = grad(w["y"])
        nonlinear = w["y"] * (slope[0] + slope[1]) if degree_of == 1 else w["y"] ** 3 - w["y"]
        force = w["t"] * w.x[0] * w.x[1] + w["u"]
        transport = slope[0] - 0.5 * slope[1]
        return (force - transport - nonlinear) * v - 0.3 * dot(slope, grad(v))

    degree_of = 1 if isinstance(reaction, Transport) else 3
    found = equation.f(np.array(t), y, {"u": u}, {})
    for row in range(2):
        whole = np.zeros((2, basis.N))
        whole[:, inside] = y[row], u[row]
        fields = [basis.interpolate(values) for values in whole]
        expected = form.assemble(basis, y=fields[0], u=fields[1], t=t[row])[inside]
        np.testing.assert_allclose(found[row], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("stabilisation", ["supg", "upwind"])
def test_stabilised_steady_states_are_exact_at_the_nodes(stabilisation):
    """Exponential fitting: ``b y' = nu y'' + 1`` in one dimension, with a layer inside a cell."""
    b, nu = 2.0, 0.01
    of = Elements(interval(8), dirichlet=True)
    equation = SemiDiscrete(
        of, nu, np.zeros(of.size), velocity=[b], stabilisation=stabilisation,
        source=lambda t, x: np.ones((len(t), x.shape[1])),
    )  # fmt: skip
    t, zero = np.zeros(1), np.zeros((1, of.size))
    load = equation.f(t, zero, {"u": zero}, {})[0]
    y = np.linalg.solve(-of.filled(equation.jacobian(t, zero, {}, {})[0]).toarray(), load)
    x, layer = of.points[0], np.exp(-b / nu)
    exact = x / b - (np.exp(b * (x - 1) / nu) - layer) / (b * (1 - layer))
    np.testing.assert_allclose(y, exact, rtol=1e-10)


# Derivatives


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", SMALL)
def test_steps_and_their_transposes(name, scheme):
    """Products to 1e-12 with tangents by complex steps."""
    problem = SMALL[name].problem(scheme=scheme)
    step, random = problem.stepper, np.random.default_rng(0)
    size, inputs = len(step.ode.initial_state), problem.controls["u"].shape[0]
    y, lam, of_y = random.standard_normal((3, 2, size))
    u, of_u = random.standard_normal((2, 2, inputs))
    t0 = np.array([[0.1], [0.3]])
    s = Steps(np.arange(2), t0, t0 + 0.05)
    h = 1e-100
    moved = step.step(s, y + 1j * h * of_y, {"u": u + 1j * h * of_u}, {})
    dy, du, _ = problem.adjoint.vjp(s, y, {"u": u}, {}, lam)
    ours, expected = (lam * moved.imag / h).sum(), (dy * of_y).sum() + (du["u"] * of_u).sum()
    size = np.linalg.norm(lam) * np.linalg.norm(moved.imag / h)
    assert abs(ours - expected) <= 1e-12 * size


@pytest.mark.parametrize("name", SMALL)
def test_everything_that_can_be_checked(name):
    problem = SMALL[name].problem(SMALL[name].manufactured().data)
    grid = pint.TimeGrid.uniform(0.5, 8, 2, 2)
    check_problem(problem, grid).require()


@pytest.mark.parametrize("name", ["burgers", "heat-boundary"])
@pytest.mark.parametrize("lumped", [False, True])
def test_gradients_in_the_metric(name, lumped):
    problem = SMALL[name].problem(scheme="sdirk2", lumped=lumped)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 8))
    control = functional.control(u=0.3)
    report = taylor_test(functional, control)
    report.require()
    gradient, direction = (
        functional.gradient(control),
        functional.control(u=np.sin(np.arange(8))[:, None] * np.ones(problem.controls["u"].shape)),
    )
    slope = functional.controls.pair(functional.derivative(control), direction)
    assert functional.controls.inner(gradient, direction) == pytest.approx(slope, rel=1e-12)


# Optima


def solved(of, steps, scheme="crank-nicolson"):
    """Return the errors of control and state against the known optimum."""
    optimum = of.manufactured()
    problem = of.problem(optimum.data, scheme)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(of.T, steps))
    result = pint.minimize(functional, method=pint.ReducedSpace(gradient_tolerance=1e-6))
    assert result.status is pint.Status.CONVERGED
    found = result.control["u"], result.states()
    return optimum.errors(problem.stepper.ode, functional.grid.t[:], *found)


UPWIND = {"stabilisation": "upwind", "nu": 0.1}


@pytest.mark.parametrize(
    ("coarse", "fine", "order"),
    [
        ((Burgers(cells=8), 8), (Burgers(cells=16), 16), 2),
        ((Burgers(4, degree=2, nu=0.1), 16), (Burgers(8, degree=2, nu=0.1), 48), 3),
        ((AllenCahn(cells=6), 6, "midpoint"), (AllenCahn(cells=12), 12, "midpoint"), 2),
        ((Advection(16, **UPWIND), 16, "sdirk2"), (Advection(32, **UPWIND), 32, "sdirk2"), 2),
    ],
    ids=["burgers", "p2", "allen-cahn", "upwind"],
)
def test_known_optima(coarse, fine, order):
    """h and dt shrink together: control and state converge by the order of both."""
    before, after = solved(*coarse), solved(*fine)
    widths = coarse[0].cells / fine[0].cells
    for error, smaller in zip(before, after, strict=True):
        assert abs(np.log(smaller / error) / np.log(widths) - order) <= 0.1


def test_known_optimum_of_the_boundary_control():
    """Coarse meshes, where the order 2 of the documentation's table only begins to show."""
    before, after = (solved(HeatBoundary(cells=n), 2 * n) for n in (3, 6))
    for error, smaller in zip(before, after, strict=True):
        assert np.log2(error / smaller) > 1.6


# Updates do not depend on the mesh


def updates(of, steps, **options):
    functional = pint.ReducedFunctional(of.problem(**options), pint.TimeGrid.uniform(of.T, steps))
    method = pint.ReducedSpace(gradient_tolerance=0, relative_gradient_tolerance=1e-6)
    result = pint.minimize(functional, method=method)
    assert result.status is pint.Status.CONVERGED
    return len(result.history) - 1


@pytest.mark.parametrize("lumped", [False, True])
def test_updates_do_not_depend_on_the_mesh(lumped):
    heat = {"speed": 0.0, "nu": 0.1, "stabilisation": "none"}
    counts = [
        updates(
            Advection(nodes=tuple(np.linspace(0, 1, cells + 1) ** 2), **heat), steps, lumped=lumped
        )
        for cells, steps in [(12, 8), (12, 32), (48, 8)]
    ]
    assert max(counts) <= min(1.2 * min(counts), 30)


def test_a_resumed_run_has_its_metric(tmp_path):
    def run(iterations, lumped=False, resume=False):
        problem, grid = SMALL["burgers"].problem(lumped=lumped), pint.TimeGrid.uniform(1.0, 4)
        functional = pint.ReducedFunctional(problem, grid)
        method = pint.ReducedSpace(gradient_tolerance=0, iterations=iterations)
        checkpoint = pint.Checkpoint(tmp_path / "run.npz", interval=0, resume=resume)
        return pint.minimize(functional, method=method, checkpoint=checkpoint)

    run(3)
    resumed = run(6, resume=True)
    with pytest.raises(pint.CheckpointError, match=r"another problem: `controls\['u'\].metric`"):
        run(6, lumped=True, resume=True)
    (tmp_path / "run.npz").unlink()
    assert resumed.objective == pytest.approx(run(6).objective, rel=1e-14)


# Errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Elements(interval(4), 3), r"degree=...\)` must be 1 or 2, got 3"),
        (lambda: Elements(skfem.MeshQuad()), r"mesh=...\)` must be.*MeshTri, got MeshQuad"),
        (lambda: Advection(degree=2).problem(), "stabilisation='supg'.*P1 with a velocity"),
        (lambda: Advection(speed=0.0).problem(), "stabilisation='supg'.*P1 with a velocity"),
        (lambda: Burgers().problem(scheme="rk4"), r"problem\(scheme=...\).*'sdirk2', got 'rk4'"),
        (lambda: Burgers().problem(lower=0.0), r"metric=...\)` must be diagonal.*lumped"),
        (lambda: lumped_mass(Elements(square(2), 2).mass), r"lumped=True\)` is for P1"),
    ],
)  # fmt: skip
def test_what_does_not_fit(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_all_problems_have_data_of_their_own():
    for kind in PROBLEMS.values():
        functional = pint.ReducedFunctional(kind(cells=4).problem(), pint.TimeGrid.uniform(1.0, 4))
        assert 0 < functional.value(functional.control()) < 10


def test_norms_of_states_are_those_of_functions():
    """The norm of ``x (1 - x)`` does not depend on the mesh, nor do those of residuals."""
    for nodes in ((0.0, 0.2, 0.5, 1.0), tuple(np.linspace(0, 1, 40))):
        problem = Burgers(degree=2, nodes=nodes).problem()
        x = problem.stepper.ode.elements.points[0]
        squared = problem.space.squared_norm((x * (1 - x))[None])
        assert squared == pytest.approx(1 / 30, rel=1e-12)
