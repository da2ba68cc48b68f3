"""Generated code: values and derivatives of many functions, names, copies, long expressions."""

import copy
import pickle
import time
import warnings

import mpmath
import numpy as np
import pytest
import sympy
from sympy import Piecewise, Rational, Symbol

import pint
from pint.steppers.symbolic import SympyODE

y, z, v, k, t = sympy.symbols("y z v k t")
i = sympy.Symbol("i", integer=True)

FUNCTIONS = [
    # Scalars beside batches
    sympy.Max(y, k, 0),
    sympy.Min(y, k, z, Rational(1, 3)),
    sympy.exp(sympy.Max(y, k)) * sympy.Min(k, 1),
    Piecewise((y**2, (y > Rational(1, 10)) & (k > Rational(1, 2))), (z, True)),
    Piecewise((y, (y > 0) | (k > 2) | (z < 0)), (k * y, sympy.Not(y > z)), (0, True)),
    Piecewise((y, k > 1), (z, True)),
    Piecewise((y, sympy.ITE(y > 0, z > 0, k > 2)), (k * y, sympy.Xor(y > z, k > 2)), (z, True)),
    Piecewise((k, k > 0), (-k, True)),
    Piecewise((sympy.log(y), y > 0), (y, True)),
    Piecewise((y, sympy.Eq(sympy.floor(y), 0)), (z, True)),
    Piecewise((y, y < sympy.oo), (0, True)),
    sympy.Heaviside(y) * sympy.Heaviside(k),
    sympy.sign(k) * y,
    # Kinks and jumps
    sympy.Abs(y),
    sympy.Abs(sympy.log(sympy.Abs(y) + 2) - 1),
    sympy.Abs(sympy.sqrt(y + 5) - 2),
    sympy.Abs(y + sympy.I * z),
    sympy.sign(y) * z,
    sympy.Heaviside(y - k) * y,
    sympy.floor(3 * y) * z,
    sympy.ceiling(y) * y,
    sympy.frac(y) * z,
    sympy.Mod(y, k),
    sympy.real_root(y, 3),
    sympy.Max(sympy.Abs(y), z**2),
    # Special functions
    sympy.atan2(y, z),
    sympy.erf(y),
    sympy.erfc(k * z),
    sympy.gamma(y + 4),
    sympy.besselj(0, y),
    sympy.LambertW(y + 5),
    sympy.sinc(y),
    # What is written out or evaluated
    sympy.Sum(y**i / sympy.factorial(i), (i, 0, 5)),
    sympy.Sum(k * i * sympy.Sum(i * y, (i, 0, 2)), (i, 1, 3)),
    sympy.Sum(y**i, (i, 0, 12)),
    sympy.Sum(sympy.Max(y - i, 0), (i, 0, 3)),
    sympy.Product(y + i, (i, 1, 3)),
    sympy.Integral(i * y, (i, 0, k)),
    sympy.Derivative(y**3 * z, y),
    y * sympy.Limit(sympy.sin(i) / i, i, 0),
    sympy.UnevaluatedExpr(y) ** 2,
    # Numbers
    sympy.Integer(3),
    sympy.pi * sympy.GoldenRatio,
    10**30 * y,
    y / 10**25,
    # Time
    t * y + v,
    k * sympy.exp(-t) + sympy.cos(t) * v**2,
]


@pytest.fixture(autouse=True)
def precise():
    with mpmath.workdps(30), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_values_and_derivatives(function):
    """Against mpmath, one example of a batch after the other; costs, too."""
    fields = {"v": v}, {"k": k}
    ode = SympyODE(
        [y, z],
        [function, function * z],
        fields[0],
        parameters=fields[1],
        running_cost=function,
        terminal_cost=function.xreplace({v: k, t: k}),
        initial_state=[1, 2],
        time=t,
    )
    at = np.array([[0.37, -0.8], [-1.3, 0.45], [2.2, 1.6]])
    times, u, p = np.array([0.1, 0.7, 1.9]), np.array([[0.3], [-0.2], [1.1]]), np.array([0.9])
    arguments = (times, at, {"v": u}, {"k": p})
    f, cost = ode.f(*arguments), ode.cost.value(*arguments)
    jacobian = ode.jacobian(*arguments)
    weight = np.array([1.0, 2.0, 4.0])
    lam = np.stack([weight, 0 * weight], axis=1)
    dy, du, dp = ode.f_vjp(*arguments, lam)
    cost_slopes = ode.cost.gradient(*arguments, weight)

    evaluated = sympy.lambdify((y, z, v, k, t), function.doit(), "mpmath")
    rows = [(*at[b], u[b, 0], p[0], times[b]) for b in range(3)]
    value = np.array([float(evaluated(*map(mpmath.mpf, row))) for row in rows])
    slopes = np.array([[_slope(evaluated, row, place) for place in range(4)] for row in rows])
    close = {"rtol": 1e-11, "atol": 1e-11}
    np.testing.assert_allclose(f, np.stack([value, value * at[:, 1]], axis=1), **close)
    np.testing.assert_allclose(cost, value, **close)
    np.testing.assert_allclose(jacobian[:, 0], slopes[:, :2], **close)
    for of_y, of_u, of_p in ((dy, du, dp), cost_slopes):
        np.testing.assert_allclose(of_y, weight[:, None] * slopes[:, :2], **close)
        np.testing.assert_allclose(of_u["v"][:, 0], weight * slopes[:, 2], **close)
        np.testing.assert_allclose(of_p["k"], [weight @ slopes[:, 3]], **close)
    assert np.isfinite(ode.cost.terminal(at[0], {"k": p}))


def _slope(function, row, place):
    order = tuple(int(i == place) for i in range(5))
    return float(mpmath.diff(function, tuple(map(mpmath.mpf, row)), order, h=mpmath.mpf(10) ** -12))


SMOOTH_NEARBY = [
    function
    for function in FUNCTIONS
    if function.has(sympy.Abs, sympy.sign, sympy.Heaviside, sympy.Max, sympy.Min, Piecewise)
    and not function.has(sympy.Mod, sympy.arg, sympy.im, sympy.Eq)
]


@pytest.mark.parametrize("function", SMOOTH_NEARBY, ids=str)
def test_a_complex_step_of_any_argument_is_kept(function):
    """`check_problem` differentiates so, which must not take a right derivative for wrong."""
    ode = SympyODE([y, z], [function, z], {"v": v}, parameters={"k": k}, initial_state=[1, 2])
    at, u, p, h = np.array([[0.37, -0.8]]), {"v": np.ones((1, 1))}, {"k": np.array([0.9])}, 1e-30
    shifted = ode.f(None, at + np.array([[1j * h, 0]]), u, p)[:, 0].imag / h
    np.testing.assert_allclose(shifted, ode.jacobian(None, at, u, p)[:, 0, 0], rtol=1e-12)
    dk = ode.f(None, at, u, {"k": p["k"] + 1j * h})[:, 0].imag / h
    expected = ode.f_vjp(None, at, u, p, np.array([[1.0, 0.0]]))[2]["k"]
    np.testing.assert_allclose(dk, expected, rtol=1e-12, atol=1e-15)


NAMES = ["a{b}", "lambda", "class", "two words", "ü_∂", "", "%s", "{}", "'\"", "y", "np", "dt"]
NAMES += ["value_0", "common_0", "part_0", "extra", "self", "u", "theta", "numpy", "group_0"]


@pytest.mark.parametrize("name", NAMES)
def test_symbols_may_have_any_name(name):
    """So may fields, if they can be the name of an argument."""
    control, shared = Symbol(name + "1"), Symbol(name, real=True)
    state = Symbol(name)
    one, two = (name, f"{name}_") if name.isidentifier() else ("u", "p")
    ode = SympyODE(
        [state],
        [sympy.sin(state) * control + shared],
        {one: control},
        parameters={two: shared},
        running_cost=state**2 + control**2 + shared**2,
        initial_state=[shared],
        time=Symbol(name, positive=True),
    )
    grid = pint.TimeGrid.uniform(1.0, 4)
    functional = pint.ReducedFunctional(ode.problem(), grid)
    control = functional.control(**{one: 0.3, two: 0.7})
    assert functional.value(control) == pytest.approx(_reference_value())
    assert set(functional.gradient(control).time) == {one}


def _reference_value():
    state, control, shared = sympy.symbols("q w p")
    ode = SympyODE(
        [state],
        [sympy.sin(state) * control + shared],
        {"c": control},
        parameters={"s": shared},
        running_cost=state**2 + control**2 + shared**2,
        initial_state=[shared],
    )
    functional = pint.ReducedFunctional(ode.problem(), pint.TimeGrid.uniform(1.0, 4))
    return functional.value(functional.control(c=0.3, s=0.7))


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
@pytest.mark.parametrize("scheme", ["rk4", "crank-nicolson"])
def test_copies_of_problems(copied, scheme):
    ode = SympyODE(
        [y, z],
        [z, v - sympy.Abs(y) * k],
        {"v": v},
        parameters={"k": k},
        running_cost=y**2 + v**2 * sympy.erf(k),
        initial_state=[k, 1],
    )
    problem = ode.problem(scheme, controls={"v": (-1, 1)}, regularisers=[pint.Tikhonov(0.1, ["v"])])
    grid = pint.TimeGrid.uniform(1.0, 8)
    one, other = (pint.ReducedFunctional(each, grid) for each in (problem, copied(problem)))
    assert one.value(one.control(v=0.5, k=0.7)) == other.value(other.control(v=0.5, k=0.7))
    slopes = [each.derivative(each.control(v=0.5, k=0.7)).vector for each in (one, other)]
    np.testing.assert_array_equal(*slopes)
    assert other.problem.controls["v"].bounded


def test_what_was_given_is_consumed_once():
    expressions = [z, v - y]
    ode = SympyODE(
        iter([y, z]), iter(expressions), {"v": iter([v])}, initial_state=(n for n in (1, 2))
    )
    at = np.array([[0.3, 0.4]])
    np.testing.assert_allclose(ode.f(None, at, {"v": np.ones((1, 1))}, {}), [[0.4, 0.7]])
    matrix = SympyODE(
        sympy.Matrix([y, z]), sympy.Matrix(expressions), {"v": v}, initial_state=[1, 2]
    )
    assert matrix.definition == ode.definition


def test_the_definition_tells_problems_apart():
    one, other = (SympyODE([y], [y * c], initial_state=[1]) for c in (2, 3))
    again = SympyODE([y], [y * 2], initial_state=[1])
    fingerprints = [pint.comm.fingerprint(each.problem()) for each in (one, other, again)]
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
    with pytest.raises(ValueError, match="read-only"):
        one.initial_state[0] = 2


def test_long_costs():
    """A sum and a product of thousands of terms, in reasonable time and to rounding."""
    started = time.perf_counter()
    numbers = range(1, 4001)
    cost = v**2 + sympy.Add(*((y - Rational(n, 100)) ** 2 for n in numbers))
    ode = SympyODE([y], [v], {"v": v}, running_cost=cost, initial_state=[1])
    at, u = np.array([[0.3], [2.0]]), {"v": np.array([[1.0], [2.0]])}
    off = at - np.array(numbers) / 100
    assert time.perf_counter() - started < 40  # 6 s on an idle machine
    np.testing.assert_allclose(
        ode.cost.value(None, at, u, {}), (off**2).sum(axis=1) + u["v"][:, 0] ** 2
    )
    of_y, of_u, _ = ode.cost.gradient(None, at, u, {}, np.ones(2))
    np.testing.assert_allclose(of_y[:, 0], 2 * off.sum(axis=1))
    np.testing.assert_allclose(of_u["v"], 2 * u["v"])


@pytest.mark.parametrize("function", [sympy.Max, sympy.Min])
def test_many_arguments(function):
    numbers = np.linspace(-1, 1, 9)
    ode = SympyODE([y], [function(*(sympy.sin(n * y) for n in numbers))], initial_state=[1])
    at = np.array([[0.3], [2.0]])
    expected = getattr(np.sin(at * numbers), function.__name__.lower())(axis=1)
    np.testing.assert_allclose(ode.f(None, at, {}, {})[:, 0], expected)


def test_deep_expressions():
    def nested(depth):
        expression = y
        for _ in range(depth):
            expression = sympy.sin(expression) + z
        return expression

    ode = SympyODE([y, z], [nested(40), y], initial_state=[1, 2])
    value, slope = 0.3, 1.0
    for _ in range(40):
        value, slope = np.sin(value) + 0.2, np.cos(value) * slope
    at = np.array([[0.3, 0.2]])
    assert ode.f(None, at, {}, {})[0, 0] == pytest.approx(value, rel=1e-13)
    assert ode.jacobian(None, at, {}, {})[0, 0, 0] == pytest.approx(slope, rel=1e-12)
    with pytest.raises(ValueError, match=r"`SympyODE\(terminal_cost=.*nested too deeply"):
        SympyODE([y, z], [z, y], terminal_cost=nested(250), initial_state=[1, 2])


def test_roots_of_polynomials_are_numbers():
    ode = SympyODE([y], [y * sympy.CRootOf(z**3 - 2, 0)], initial_state=[1])
    found = ode.f(None, np.array([[0.5]]), {}, {})
    assert found[0, 0] == pytest.approx(0.5 * 2 ** (1 / 3), rel=1e-15)
