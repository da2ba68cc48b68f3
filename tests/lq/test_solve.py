"""Every way to solve a linear-quadratic problem finds the optimum that dense equations have."""

import sys

import numpy as np
import pytest
import quadratic
from scipy.linalg import solve_discrete_are

from pint.errors import NotFiniteError
from pint.lq import LinearQuadratic, NotPositiveDefiniteError, SharedParameters, solve


@pytest.fixture(params=["riccati", "scan", "compiled"])
def solved(request):
    """Return `solve` by one of the ways."""
    options = {"method": request.param, "backend": "numpy"}
    if request.param == "compiled":
        pytest.importorskip("numba")
        options = {"method": "riccati", "backend": "compiled"}
    return lambda problem, **more: solve(problem, **options, **more)


def close(found, expected, tolerance=1e-12):
    """Assert that arrays agree, relative to their largest entry."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# Few sizes of matrices: each is compiled.
CASES = [
    # N, n, m, p, free
    (1, 3, 2, 0, False),
    (1, 3, 2, 2, True),
    (16, 3, 2, 2, False),
    (20, 3, 2, 0, True),
    (9, 12, 6, 0, False),
    (12, 12, 6, 0, True),
]


@pytest.mark.parametrize("growth", [1.0, 1.4])
@pytest.mark.parametrize("case", CASES)
def test_optimum_of_the_dense_equations(solved, case, growth):
    """Singular Hessians, cross terms, offsets; with a growth > 1 unstable dynamics."""
    *sizes, free = case
    arrays, shared = quadratic.data(sum(sizes), *sizes, free=free, growth=growth)
    x, u, theta, multipliers, objective = quadratic.dense(arrays, shared)
    solution = solved(quadratic.problem(arrays, shared))
    close(solution.x, x)
    close(solution.u, u)
    if sizes[3]:
        close(solution.theta, theta)
    if not free:
        close(solution.multipliers, multipliers)
    close(solution.multipliers[1:], multipliers[1:])
    assert solution.objective == pytest.approx(objective, rel=1e-12)
    assert solution.smallest_pivot > 0


@pytest.mark.parametrize("case", [(300, 3, 2, 2, False), (257, 12, 6, 0, False)])
def test_all_ways_agree(solved, case):
    *sizes, free = case
    arrays, shared = quadratic.data(7, *sizes, free=free, growth=1.2)
    problem = quadratic.problem(arrays, shared)
    first, second = solve(problem, "riccati", backend="numpy"), solved(problem)
    for name in ("x", "u", "multipliers", "K", "k", "P", "p"):
        close(getattr(second, name), getattr(first, name))
    assert second.smallest_pivot == pytest.approx(first.smallest_pivot, rel=1e-12)


def test_gains_and_value_function_of_an_endless_horizon(solved):
    rng = np.random.default_rng(8)
    n, m = 3, 2
    A, B = 1.3 * np.linalg.qr(rng.normal(size=(n, n)))[0], rng.normal(size=(n, m))
    H = quadratic.semidefinite(rng, (n + m,), n + m)
    Q, R, S = H[:n, :n], H[n:, n:], H[n:, :n]
    problem = LinearQuadratic(A=A, B=B, Q=Q, R=R, S=S, initial=np.ones(n), steps=300)
    solution = solved(problem)
    P = solve_discrete_are(A, B, Q, R, s=S.T)
    close(solution.P[0], P, 1e-11)
    close(solution.K[0], -np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A + S), 1e-11)


def test_feedback_and_value_function_in_other_states(solved):
    """From another state, gains and value function are those of the solution from there."""
    arrays, _ = quadratic.data(9, 12, 3, 2)
    at = [solved(quadratic.problem(arrays | {"initial": x}, None)) for x in np.eye(3)]
    x = np.array([2.0, -1.0, 0.5])
    other = solved(quadratic.problem(arrays | {"initial": x}, None))
    close(other.u[0], at[0].K[0] @ x + at[0].k[0])
    P, p = at[0].P[0], at[0].p[0]
    rise = x @ P @ x / 2 + p @ x - (P[0, 0] / 2 + p[0])
    assert other.objective - at[0].objective == pytest.approx(rise, rel=1e-11)
    # A quadratic function: central differences are exact.
    x0 = np.array([0.3, 0.1, -2.0])
    problem = quadratic.problem(arrays | {"initial": x0}, None)
    for unit, multiplier in zip(np.eye(3), solved(problem).multipliers[0], strict=True):
        up, down = (
            solved(quadratic.problem(arrays | {"initial": x0 + sign * unit}, None)).objective
            for sign in (1, -1)
        )
        assert (up - down) / 2 == pytest.approx(multiplier, rel=1e-10)


@pytest.mark.parametrize("R", [0.0, -0.2])
def test_controls_without_a_cost_of_their_own(solved, R):
    """R + B^T P B is positive definite although R is not: the scan gives way."""
    arrays, _ = quadratic.data(10, 15, 3, 2)
    arrays["R"], arrays["S"] = R * np.tile(np.eye(2), (15, 1, 1)), 0 * arrays["S"]
    arrays["B"] = np.linalg.qr(arrays["B"])[0]
    arrays["Q"] = arrays["Q"] + 4 * np.eye(3)
    arrays["Q_end"] = 4 * np.eye(3)
    x, u, *_ = quadratic.dense(arrays, None)
    solution = solved(quadratic.problem(arrays, None))
    close(solution.x, x, 1e-11)
    close(solution.u, u, 1e-11)


def indefinite(step):
    """Return a problem whose reduced Hessian is not positive definite in some step."""
    arrays, _ = quadratic.data(11, 9, 3, 2)
    arrays["R"] = arrays["R"].copy()
    arrays["R"][step] = [[1e4, 0.0], [0.0, -1e4]]
    return arrays


@pytest.mark.parametrize("step", [0, 5, 8])
def test_the_step_without_a_minimum_is_named(solved, step):
    with pytest.raises(
        NotPositiveDefiniteError, match=f"of step {step} is not pos.*levenberg"
    ) as e:
        solved(quadratic.problem(indefinite(step), None))
    assert e.value.step == step
    assert e.value.pivot < -9e3


def test_levenberg(solved):
    """It adds to R, in the metric: the solution is that of the other R."""
    arrays, more = indefinite(4), 3e4 * np.array([0.5, 1.0])
    solution = solved(quadratic.problem(arrays, None), levenberg=3e4, metric=[0.5, 1.0])
    other = solved(quadratic.problem(arrays | {"R": arrays["R"] + np.diag(more)}, None))
    close(solution.u, other.u)
    by_step = solved(
        quadratic.problem(arrays, None), levenberg=3e4, metric=np.tile([0.5, 1], (9, 1))
    )
    close(by_step.u, other.u)
    plain = solved(quadratic.problem(arrays, None), levenberg=2e4)
    close(plain.u, solved(quadratic.problem(arrays | {"R": arrays["R"] + 2e4 * np.eye(2)}, None)).u)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levenberg": -1.0}, r"solve\(levenberg=...\)` must be finite and >= 0, got -1"),
        ({"levenberg": np.nan}, r"solve\(levenberg=...\)` must be finite"),
        ({"metric": [1.0]}, r"solve\(metric=...\)`.*shape \(2,\) or \(9, 2\).*shape \(1,\)"),
        ({"metric": [1.0, -1.0]}, r"solve\(metric=...\)` must be finite numbers >= 0"),
        ({"method": "newton"}, r"solve\(method=...\)` is 'auto', 'riccati' or 'scan'"),
        ({"backend": "c"}, r"solve\(backend=...\)` is 'auto', 'numpy' or 'compiled'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        solve(quadratic.problem(indefinite(4), None), **options)


def test_no_problem_and_no_steps():
    with pytest.raises(TypeError, match=r"`solve\(problem=...\)` must be a `LinearQuadratic`"):
        solve({})
    one = np.eye(1)
    with pytest.raises(ValueError, match=r"`solve\(problem=...\)` must have a step"):
        solve(LinearQuadratic(A=one, B=one, Q=one, R=one, initial=[1.0], steps=0))


def test_a_first_state_or_parameters_without_a_minimum(solved):
    arrays, shared = quadratic.data(12, 9, 3, 2, 2)
    free = {"initial": None, "Q": 0 * arrays["Q"], "S": 0 * arrays["S"]}
    free["Q_end"] = np.diag([1.0, 0.0, 0.0])
    with pytest.raises(NotPositiveDefiniteError, match="free first state is not positive") as e:
        solved(quadratic.problem(arrays | free, None))
    assert e.value.step is None
    shared["T"] = np.diag([1.0, -1e3])
    with pytest.raises(NotPositiveDefiniteError, match="shared parameters is not positive"):
        solved(quadratic.problem(arrays, shared))


def test_numbers_beyond_the_largest_float_end_with_an_error(solved):
    arrays, _ = quadratic.data(13, 20, 3, 2)
    arrays["A"], arrays["B"] = 1e60 * arrays["A"], 0 * arrays["B"]
    arrays["Q_end"] = np.eye(3)
    with np.errstate(all="ignore"), pytest.raises(NotPositiveDefiniteError):
        solved(quadratic.problem(arrays, None))
    nothing = {name: 0 * arrays[name] for name in ("Q", "S", "q", "Q_end", "q_end")}
    with np.errstate(all="ignore"), pytest.raises(NotFiniteError, match="states of `solve"):
        solved(quadratic.problem(arrays | nothing, None))


def test_many_parameters():
    """By the loops in numpy."""
    arrays, shared = quadratic.data(15, 12, 5, 1, 7)
    x, u, theta, _, _ = quadratic.dense(arrays, shared)
    for method in ("riccati", "scan"):
        solution = solve(quadratic.problem(arrays, shared), method, backend="numpy")
        for found, expected in ((solution.x, x), (solution.u, u), (solution.theta, theta)):
            close(found, expected)


def test_parameters_alone_decide(solved):
    """One state, x_{n+1} = x_n + u_n + theta: the optimum by hand."""
    one = np.eye(1)
    shared = SharedParameters(T=one, C=one)
    problem = LinearQuadratic(
        A=one, B=one, Q=0 * one, R=one, Q_end=one, initial=[4.0], parameters=shared, steps=2
    )
    # x_2 = 4 + u_0 + u_1 + 2 theta; -u = x_2, -theta = 2 x_2: x_2 = 4 / (1 + 2 + 4)
    solution = solved(problem)
    np.testing.assert_allclose(solution.x[:, 0], [4, 4 - 12 / 7, 4 / 7], rtol=1e-14)
    np.testing.assert_allclose(solution.theta, [-8 / 7], rtol=1e-14)
    assert solution.objective == pytest.approx(8 / 7, rel=1e-14)


def test_without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "pint.lq.kernels", raising=False)
    arrays, _ = quadratic.data(14, 300, 2, 1)
    problem = quadratic.problem(arrays, None)
    with pytest.raises(ImportError, match=r"`solve\(backend=...\)`.*extra `compiled`"):
        solve(problem, backend="compiled")
    close(solve(problem).u, solve(problem, "riccati").u)
