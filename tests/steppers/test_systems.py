"""Banded and sparse Jacobians and mass matrices: the same as dense ones, scipy, and refusals."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp

import pint
from pint.steppers import ODE, RKC, SCHEMES, RungeKutta, Theta, scheme
from pint.steppers.systems import layout, system
from pint.verify import check_problem

POINTS = 9
IMPLICIT = ("implicit-euler", "midpoint", "crank-nicolson", "sdirk2")
RNG = np.random.default_rng(0)
MASS = sp.diags([1 / 6, 2 / 3, 1 / 6], [-1, 0, 1], shape=(POINTS, POINTS)).tolil()
MASS[0, 4] = 0.1
WIDE_MASS = {"none": None, "dense": MASS.toarray(), "sparse": MASS.tocsr()}


class Burgers(ODE):
    """Viscous Burgers equation on (0, 1), y = 0 at both ends; f_y as bands, `tridiagonals`."""

    viscosity = 0.02

    def __init__(self, points=POINTS, mass_matrix=None):
        self.n, self.h, self.mass_matrix = points, 1 / (points + 1), mass_matrix
        self.initial_state = np.sin(2 * np.pi * self.h * np.arange(1, points + 1))

    @staticmethod
    def around(y):
        zero = np.zeros_like(y[:, :1])
        return np.concatenate([zero, y, zero], axis=1)

    def f(self, t, y, u, theta):
        w = self.around(y)
        diffusion = self.viscosity * (w[:, 2:] - 2 * y + w[:, :-2]) / self.h**2
        return diffusion - y * (w[:, 2:] - w[:, :-2]) / (2 * self.h) + u["u"]

    def f_vjp(self, t, y, u, theta, lam):
        w, m, p = self.around(y), self.around(lam), self.around(lam * y)
        diffusion = self.viscosity * (m[:, 2:] - 2 * lam + m[:, :-2]) / self.h**2
        transport = lam * (w[:, 2:] - w[:, :-2]) + p[:, :-2] - p[:, 2:]
        return diffusion - transport / (2 * self.h), {"u": lam}, {}

    def tridiagonals(self, y):
        w, bands = self.around(y), np.full((len(y), 3, self.n), np.nan, y.dtype)
        near, far = self.viscosity / self.h**2, 1 / (2 * self.h)
        bands[:, 0, 1:] = near - y[:, :-1] * far
        bands[:, 1] = -2 * near - (w[:, 2:] - w[:, :-2]) * far
        bands[:, 2, :-1] = near + y[:, 1:] * far
        return bands


class Dense(Burgers):
    def jacobian(self, t, y, u, theta):
        return super().jacobian(t, y, u, theta)


class Banded(Burgers):
    bands = (1, 1)

    def jacobian(self, t, y, u, theta):
        return self.tridiagonals(y)


class ByProducts(Burgers):
    bands = (1, 2)  # one more than there are


class OfOnePattern(Burgers):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        ones = np.ones(self.n)
        self.sparsity = sp.diags([ones[1:], ones, ones[1:]], [-1, 0, 1]).tocsc()
        places = self.sparsity.tocoo()
        self.places = 1 + places.row - places.col, places.col

    def jacobian(self, t, y, u, theta):
        return self.tridiagonals(y)[(slice(None), *self.places)]


class OfManyPatterns(Burgers):
    def jacobian(self, t, y, u, theta):
        matrices = [
            sp.diags([b[2, :-1], b[1], b[0, 1:]], [-1, 0, 1], format="csc")
            for b in self.tridiagonals(y)
        ]
        wider = sp.csc_matrix(([1e-30], ([0], [4])), shape=(self.n, self.n))
        return [matrix + wider * (row % 2) for row, matrix in enumerate(matrices)]


KINDS = (Banded, ByProducts, OfOnePattern, OfManyPatterns)


def arguments(rows=5, dt=0.1):
    s = pint.TimeGrid.uniform(rows * dt, rows).batch(0, range(rows), 1)
    y, u, lam, v = RNG.standard_normal((4, rows, POINTS))
    return s, 0.2 * y, {"u": u}, lam, v


@pytest.mark.parametrize(
    ("name", "mass", "widest"),
    [
        *((name, mass, 64) for name in IMPLICIT for mass in ("none", "sparse")),
        ("midpoint", "dense", 64),
        ("crank-nicolson", "sparse", 0),  # by SuperLU
        ("sdirk2", "none", 0),
    ],
)
def test_steps_and_transposes_are_those_of_dense_jacobians(name, mass, widest, monkeypatch):
    monkeypatch.setattr(layout, "WIDEST", widest)
    s, y, u, lam, v = arguments(rows=3)
    stepper, adjoint = scheme(Dense(POINTS, WIDE_MASS[mass]), name)
    expected = stepper.step(s, y, u, {})
    dy, du, _ = adjoint.vjp(s, y, u, {}, lam)
    tangent = stepper.step(s, y + 1e-40j * v, u, {}).imag / 1e-40
    assert (tangent * lam).sum() == pytest.approx((dy * v).sum(), rel=1e-12)
    for kind in KINDS:
        stepper, adjoint = scheme(kind(POINTS, WIDE_MASS[mass]), name)
        np.testing.assert_allclose(stepper.step(s, y, u, {}), expected, rtol=0, atol=1e-14)
        found = adjoint.vjp(s, y, u, {}, lam)
        np.testing.assert_allclose(found[0], dy, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found[1]["u"], du["u"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(adjoint.step(s, y, u, {}, lam), dy, rtol=0, atol=1e-12)
        complex_step = stepper.step(s, y + 1e-40j * v, u, {}).imag / 1e-40
        np.testing.assert_allclose(complex_step, tangent, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [Banded, OfOnePattern])
def test_a_problem_passes_all_checks(kind):
    problem = problem_of(kind(POINTS, MASS.tocsr()), "crank-nicolson")
    report = check_problem(problem, pint.TimeGrid(0.1 * np.linspace(0, 1, 7) ** 1.2, 3, 2))
    report.require()
    assert f"{kind.__name__}.jacobian" in str({check.method for check in report.checks})


@pytest.mark.parametrize("coarse", ["implicit-euler", "sdirk2"])
def test_cycles_with_coarse_steps_of_banded_systems(coarse):
    """Value and gradient by MGRIT are those of dense systems."""
    found = []
    for kind in (Dense, Banded):
        parts = scheme(kind(), "crank-nicolson", coarse=coarse)
        problem = pint.Problem(*parts, SumOfSquares(), {"u": pint.TimeControl(POINTS)})
        functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(0.5, 16, 4, 2))
        value, gradient = functional.value_and_gradient(functional.control(u=0.3))
        found.append((value, gradient.vector))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-12)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=0, atol=1e-12)


def test_an_empty_batch():
    stepper, adjoint = scheme(Banded(), "implicit-euler")
    s = pint.TimeGrid.uniform(1.0, 1).batch(0, range(0), 1)
    y = np.zeros((0, POINTS))
    assert stepper.step(s, y, {"u": y}, {}).shape == (0, POINTS)
    assert adjoint.step(s, y, {"u": y}, {}, y).shape == (0, POINTS)


def test_bands_that_leave_entries_out_are_found():
    class TooFew(Burgers):
        bands = (0, 1)

    problem = problem_of(TooFew(4), "implicit-euler")
    report = check_problem(problem, pint.TimeGrid.uniform(0.1, 2))
    assert any("TooFew.jacobian" in check.method for check in report.failures)


class SumOfSquares(pint.Objective):
    def terminal(self, y, theta):
        return 0.5 * (y**2).sum()

    def terminal_derivative(self, y, theta):
        return y, {}


def problem_of(ode, name):
    return pint.Problem(
        *scheme(ode, name), SumOfSquares(), {"u": pint.TimeControl(len(ode.initial_state))}
    )


# Linear equations


class Diffusion(ODE):
    """``M y' = K y + u``."""

    def __init__(self, kind, mass_matrix=None, points=POINTS):
        ones = np.ones(points)
        self.K = 40 * sp.diags([ones[1:], -2 * ones, ones[1:]], [-1, 0, 1]).tocsr()
        self.initial_state, self.kind, self.mass_matrix = ones, kind, mass_matrix
        self.bands = (1, 1) if kind == "bands" else None

    def f(self, t, y, u, theta):
        return (self.K @ y.T).T + u["u"]

    def f_vjp(self, t, y, u, theta, lam):
        return (self.K.T @ lam.T).T, {"u": lam}, {}

    def jacobian(self, t, y, u, theta):
        if self.kind == "bands":
            bands = np.zeros((1, 3, len(self.initial_state)))
            bands[0, 0, 1:], bands[0, 1], bands[0, 2, :-1] = (
                self.K.diagonal(k) for k in (1, 0, -1)
            )
            return bands
        return self.K if self.kind == "one" else [self.K.copy() for _ in y]


@pytest.fixture
def factorisations(monkeypatch):
    """A list that gets the number of matrices of each factorisation."""
    counts = []
    for kind, name in ((layout.BandedSystem, "_factorised"), (layout.SparseSystem, "_long")):
        method = getattr(kind, name)

        def noted(self, *arguments, method=method):
            counts.append(self.count)
            return method(self, *arguments)

        monkeypatch.setattr(kind, name, noted)
    return counts


@pytest.mark.parametrize("kind", ["bands", "one", "many"])
@pytest.mark.parametrize("name", ["implicit-euler", "crank-nicolson"])
def test_factors_are_kept_by_step_size(name, kind, factorisations):
    mass = sp.diags([0.1, 1.0, 0.1], [-1, 0, 1], shape=(POINTS, POINTS)).tocsr()
    stepper, adjoint = scheme(Diffusion(kind, mass), name)
    s, y, u, lam, _ = arguments()
    weight = {"implicit-euler": 1.0, "crank-nicolson": 0.5}[name]
    M, K = mass.toarray(), stepper.ode.K.toarray()
    left, right = M - weight * 0.1 * K, M + (1 - weight) * 0.1 * K
    expected = scipy.linalg.solve(left, right @ y.T + 0.1 * u["u"].T).T
    np.testing.assert_allclose(stepper.step(s, y, u, {}), expected, rtol=0, atol=1e-13)
    transposed = right.T @ scipy.linalg.solve(left.T, lam.T)
    np.testing.assert_allclose(adjoint.step(s, y, u, {}, lam), transposed.T, rtol=0, atol=1e-13)
    assert factorisations == [1]
    wider = pint.TimeGrid.uniform(1.0, 5).batch(0, range(5), 1)
    for _ in range(2):
        stepper.step(wider, y, u, {})
    assert factorisations == [1, 1]
    # A matrix that its user has changed in place is another one.
    stepper.ode.K *= 2
    expected = scipy.linalg.solve(M - 0.2 * weight * 2 * K, lam.T, transposed=True)
    expected = (M + 0.2 * (1 - weight) * 2 * K).T @ expected
    np.testing.assert_allclose(adjoint.step(wider, y, u, {}, lam), expected.T, rtol=0, atol=1e-13)
    assert factorisations == [1, 1, 1]


def test_steps_of_different_sizes_are_solved_together(factorisations):
    stepper, _ = scheme(Diffusion("bands"), "implicit-euler")
    t = np.array([0, 0.1, 0.3, 0.35])
    s = pint.TimeGrid(t).batch(0, range(3), 1)
    y = RNG.standard_normal((3, POINTS))
    found = stepper.step(s, y, {"u": 0 * y}, {})
    K = stepper.ode.K.toarray()
    for row, dt in enumerate(np.diff(t)):
        expected = np.linalg.solve(np.eye(POINTS) - dt * K, y[row])
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-14)
    assert factorisations == [3]


def test_a_mesh_of_two_dimensions(factorisations):
    """Wider than `WIDEST`: SuperLU; a narrower one: LAPACK. Both against scipy."""
    for side, one in ((40, layout.SparseSystem), (8, layout.BandedSystem)):
        line = sp.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(side, side))
        ode = Diffusion("one", points=side**2)
        ode.K = (sp.kron(line, sp.identity(side)) + sp.kron(sp.identity(side), line)).tocsr()
        stepper, adjoint = scheme(ode, "implicit-euler")
        s, y = (
            pint.TimeGrid.uniform(1.0, 2).batch(0, range(2), 1),
            RNG.standard_normal((2, side**2)),
        )
        left = sp.identity(side**2) - 0.5 * ode.K
        expected = sp.linalg.spsolve(left.tocsc(), y.T).T
        np.testing.assert_allclose(stepper.step(s, y, {"u": 0 * y}, {}), expected, atol=1e-13)
        np.testing.assert_allclose(adjoint.step(s, y, {"u": 0 * y}, {}, y), expected, atol=1e-13)
        assert isinstance(stepper._newton._systems._kept[0.5][2], one)


def test_copies_make_their_own_factors():
    stepper, _ = scheme(Diffusion("one", points=80), "implicit-euler")
    stepper.ode.K = stepper.ode.K + sp.csr_matrix(([1.0], ([0], [79])), shape=(80, 80))
    s, y = pint.TimeGrid.uniform(1.0, 2).batch(0, range(2), 1), RNG.standard_normal((2, 80))
    expected = stepper.step(s, y, {"u": y}, {})
    for other in (copy.deepcopy(stepper), pickle.loads(pickle.dumps(stepper))):
        np.testing.assert_array_equal(other.step(s, y, {"u": y}, {}), expected)


# What cannot be solved


@pytest.mark.parametrize("widest", [64, 0])
@pytest.mark.parametrize("points", [1, 2, 5])
def test_a_singular_matrix_is_nan_for_its_state_alone(points, widest, monkeypatch):
    """``y' = y^2 / 2``: the matrix of implicit Euler is 1 - dt y."""
    monkeypatch.setattr(layout, "WIDEST", widest)

    class Square(ODE):
        initial_state, bands = np.ones(points), (0, 0)

        def f(self, t, y, u, theta):
            return y**2 / 2

        def f_vjp(self, t, y, u, theta, lam):
            return lam * y, {}, {}

    if not widest:
        Square.bands, Square.sparsity = None, sp.identity(points)
        Square.jacobian = lambda self, t, y, u, theta: y
    s = pint.TimeGrid.uniform(1.5, 3).batch(0, range(3), 1)
    y = np.full((3, points), 0.25)
    y[1, -1] = 2.0
    stepper, adjoint = scheme(Square(), "implicit-euler")
    with pytest.warns(RuntimeWarning, match="1 of 3 steps are set to NaN"):
        step = stepper.step(s, y, {}, {})
    # z = y + z^2 / 4
    exact = 2 - 2 * np.sqrt(1 - y[[0, 2]])
    np.testing.assert_allclose(step[[0, 2]], exact, rtol=1e-14)
    assert np.isnan(step[1]).all()
    # kept states at which the matrix is singular
    kept = s._replace(kept=np.full((3, points), 0.25))
    kept.kept[1, -1] = 2.0
    found = adjoint.step(kept, y, {}, {}, np.ones((3, points)))
    np.testing.assert_allclose(found[[0, 2]], 1 / (1 - 0.5 * 0.25), rtol=1e-14)
    assert np.isnan(found[1]).any()


def test_a_singular_jacobian_ends_a_solve_with_one_line():
    ode = Diffusion("one")
    ode.K = 2 * sp.identity(POINTS, format="csr")  # I - dt f_y = 0
    problem = problem_of(ode, "implicit-euler")
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(pint.NumericalError, match="not finite"):
            functional.value(functional.control(u=1.0))


def test_dense_systems_agree_with_numpy():
    matrix, right = RNG.standard_normal((3, 4, 4)), RNG.standard_normal((3, 4))
    found = system.DenseSystem(matrix).solve(right, transposed=True)
    np.testing.assert_allclose(np.einsum("bij,bi->bj", matrix, found), right, atol=1e-12)


# Refusals


def returns(value, **attributes):
    ode = Burgers()
    ode.jacobian = lambda t, y, u, theta: value(len(y))
    for name, given in attributes.items():
        setattr(ode, name, given)
    return ode


@pytest.mark.parametrize(
    ("ode", "error"),
    [
        (returns(lambda B: np.zeros((B, 3, POINTS))), r"shape \(2, 9, 9\), got \(2, 3, 9\)"),
        (
            returns(lambda B: np.zeros((B, 9, 9)), bands=(1, 1)),
            r"shape \(2, 3, 9\) for its `bands` \(1, 1\), got \(2, 9, 9\)",
        ),
        (
            returns(lambda B: np.zeros((B, 8)), sparsity=sp.identity(9)),
            r"shape \(2, 9\), one number for each entry of its `sparsity`, got \(2, 8\)",
        ),
        (returns(lambda B: sp.identity(8)), r"sparse matrices of shape \(9, 9\), got \(8, 8\)"),
        (returns(lambda B: [sp.identity(9)] * 3), "one sparse matrix for each of 2 states.*got 3"),
    ],
)
def test_jacobians_of_another_shape(ode, error):
    s, y, u, *_ = arguments(rows=2)
    with pytest.raises(ValueError, match=rf"`Burgers.jacobian` must return .*{error}"):
        scheme(ode, "implicit-euler")[0].step(s, y, u, {})


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"bands": (1, 9)}, "bands` must be the numbers of diagonals .* from 0 to 8, got"),
        ({"bands": (1.5, 1)}, "bands` must be"),
        ({"bands": 1}, "bands` must be"),
        ({"sparsity": np.eye(9)}, "sparsity` must be a sparse matrix of shape"),
        ({"sparsity": sp.identity(8)}, r"sparsity` must be .* got \(8, 8\)"),
        (
            {"sparsity": sp.coo_matrix(([1, 1], ([0, 0], [1, 1])), shape=(9, 9))},
            "sparsity` must have each entry once",
        ),
        ({"bands": (1, 1), "sparsity": sp.identity(9)}, "`bands` and `sparsity`: give one"),
        ({"mass_matrix": np.eye(8)}, r"mass_matrix` must have the shape \(9, 9\), got \(8, 8\)"),
        ({"mass_matrix": 2.0}, "mass_matrix` must be an array or a sparse matrix, got 2.0"),
        ({"mass_matrix": np.full((9, 9), np.nan)}, "mass_matrix` must consist of finite"),
        ({"mass_matrix": 1j * np.eye(9)}, "mass_matrix` must consist of finite real"),
    ],
)
def test_attributes_that_do_not_fit(attributes, error):
    with pytest.raises((ValueError, TypeError), match=f"`Burgers.*{error}"):
        Theta(returns(lambda B: None, **attributes))


def test_explicit_schemes_know_no_mass_matrix():
    ode = returns(None, mass_matrix=np.eye(POINTS))
    explicit = set(SCHEMES) & {"forward-euler", "rk2", "rk4"}
    for make in (RKC, RungeKutta, *(lambda ode, n=name: scheme(ode, n) for name in explicit)):
        with pytest.raises(ValueError, match="`Burgers` has a `mass_matrix`"):
            make(ode)


def test_stages_of_rkc_by_sparse_jacobians():
    s, y, u, *_ = arguments()
    expected = RKC(Dense()).step(s, y, u, {})
    for kind in KINDS:
        np.testing.assert_allclose(RKC(kind()).step(s, y, u, {}), expected, rtol=1e-13)
