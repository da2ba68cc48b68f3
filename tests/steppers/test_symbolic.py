"""Problems from sympy expressions: equal to those by hand, van der Pol, clear errors."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import sympy
from ode_cases import Forced, ForcedCost, forced_symbolic

import pint
from pint.steppers.symbolic import SympyODE

ROOT = Path(__file__).parents[2]
a, b, v, t = sympy.symbols("a b v t")


def arguments(count=5):
    random = np.random.default_rng(3)
    y, u, lam = random.standard_normal((3, count, 2))
    theta = {"theta": random.standard_normal(2)}
    return random.random(count), y, {"u": u}, theta, lam, random.random(count)


def assert_same(one, other):
    """Compare results and tuples and mappings of them, relative to the largest entry."""
    if isinstance(one, tuple):
        assert len(one) == len(other)
        for x, y in zip(one, other, strict=True):
            assert_same(x, y)
    elif isinstance(one, dict):
        assert set(one) == set(other)
        for name in one:
            assert_same(one[name], other[name])
    else:
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13 * np.abs(other).max())


def test_generated_functions_are_those_by_hand():
    t, y, u, theta, lam, weight = arguments()
    symbolic, ode, cost = forced_symbolic(), Forced(), ForcedCost()
    at = (t, y, u, theta)
    assert_same(symbolic.f(*at), ode.f(*at))
    assert_same(symbolic.f_vjp(*at, lam), ode.f_vjp(*at, lam))
    assert_same(symbolic.jacobian(*at), ode.jacobian(*at))
    assert_same(symbolic.initial(theta), ode.initial(theta))
    assert_same(symbolic.initial_vjp(theta, lam[0]), ode.initial_vjp(theta, lam[0]))
    assert_same(symbolic.cost.value(*at), cost.value(*at))
    assert_same(symbolic.cost.gradient(*at, weight), cost.gradient(*at, weight))
    assert_same(symbolic.cost.terminal(y[0], theta), cost.terminal(y[0], theta))
    assert_same(
        symbolic.cost.terminal_derivative(y[0], theta), cost.terminal_derivative(y[0], theta)
    )


@pytest.mark.parametrize("name", ["rk4", "crank-nicolson"])
def test_steps_are_those_by_hand(name):
    _, y, u, theta, lam, _ = arguments(8)
    s = pint.TimeGrid.uniform(2.0, 8).batch(0, range(8), 1)
    generated, by_hand = (pint.steppers.scheme(ode, name) for ode in (forced_symbolic(), Forced()))
    assert_same(generated[0].step(s, y, u, theta), by_hand[0].step(s, y, u, theta))
    for method in ("step", "vjp"):
        assert_same(
            getattr(generated[1], method)(s, y, u, theta, lam),
            getattr(by_hand[1], method)(s, y, u, theta, lam),
        )


def test_van_der_pol(capsys):
    """The optimum was computed independently; the definition has at most 15 lines."""
    path = ROOT / "docs" / "examples" / "van_der_pol.py"
    spec = importlib.util.spec_from_file_location("van_der_pol", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.result.objective == pytest.approx(2.87980918252074, rel=1e-8)
    page = (ROOT / "docs" / "defining_a_problem.md").read_text(encoding="utf-8")
    assert f"```text\n{capsys.readouterr().out}```" in page
    lines = path.read_text(encoding="utf-8").split("\n")
    code = lines[lines.index("import sympy") :]
    assert sum(bool(line.strip()) for line in code) <= 15


def test_constants_are_repeated_over_the_batch():
    p = sympy.Symbol("p")
    ode = SympyODE(
        [a, b],
        [1, p],
        {"u": v},
        parameters={"p": p},
        running_cost=2 + v,
        terminal_cost=3,
        initial_state=[0, 1],
    )
    t, y, u, theta, lam, weight = arguments()
    theta = {"p": np.array([7.0])}
    u = {"u": u["u"][:, :1]}
    np.testing.assert_array_equal(ode.f(t, y, u, theta), np.tile([1.0, 7.0], (5, 1)))
    assert ode.f(t, np.ones((5, 2), int), u, theta).dtype == float
    np.testing.assert_array_equal(ode.jacobian(t, y, u, theta), np.zeros((5, 2, 2)))
    dy, du, dtheta = ode.f_vjp(t, y, u, theta, lam)
    np.testing.assert_array_equal(dy, 0 * y)
    np.testing.assert_array_equal(du["u"], 0 * u["u"])
    np.testing.assert_allclose(dtheta["p"], [lam[:, 1].sum()])
    dy, du, dtheta = ode.cost.gradient(t, y, u, theta, weight)
    np.testing.assert_array_equal(du["u"], weight[:, None])
    np.testing.assert_array_equal(dtheta["p"], [0.0])
    assert ode.cost.terminal(y[0], theta) == 3
    np.testing.assert_array_equal(ode.initial_vjp(theta, lam[0])["p"], [0.0])


def test_a_parameter_in_every_step_sums_over_the_batch():
    p = sympy.Symbol("p")
    ode = SympyODE([a], [a], parameters={"p": p}, running_cost=p, initial_state=[1])
    weight = np.array([1.0, 2.0, 4.0])
    dtheta = ode.cost.gradient(weight, weight[:, None], {}, {"p": np.ones(1)}, weight)[2]
    np.testing.assert_array_equal(dtheta["p"], [7.0])


def test_functions_with_kinks_and_pieces():
    """Real symbols: abs has the derivative sign, whatever was assumed of the user's symbols."""
    f = [sympy.Abs(a) + sympy.sign(b), sympy.Piecewise((a**2, a > 0), (0, True)) + sympy.erf(b)]
    ode = SympyODE([a, b], f, initial_state=[1, 1])
    y = np.array([[-2.0, 0.5], [3.0, -0.25]])
    jacobian = ode.jacobian(np.zeros(2), y, {}, {})
    slope = 2 / np.sqrt(np.pi) * np.exp(-(y[:, 1] ** 2))
    expected = [[[-1, 0], [0, slope[0]]], [[1, 0], [6, slope[1]]]]
    np.testing.assert_allclose(jacobian, expected, rtol=1e-14)


@pytest.mark.parametrize("name", ["y", "t", "kind", "numpy", "extra", "lambda", "common_0", "x0"])
def test_symbols_may_have_any_name(name):
    symbol = sympy.Symbol(name)
    ode = SympyODE([symbol], [sympy.sin(symbol) ** 2 + sympy.sin(symbol)], initial_state=[1])
    y = np.array([[0.3]])
    np.testing.assert_allclose(ode.f(None, y, {}, {}), np.sin(y) ** 2 + np.sin(y))


def test_bounds_and_fields():
    p = sympy.symbols("p:2")
    ode = SympyODE([a], [v - a * p[0]], {"u": v}, parameters={"p": p}, initial_state=[p[1]])
    field = pint.TimeControl(1, restrict="mean")
    controls = ode.problem(controls={"u": field, "p": (None, [1, 2])}).controls
    assert controls["u"] is field
    np.testing.assert_array_equal(controls["p"].upper, [1, 2])
    np.testing.assert_array_equal(controls["p"].lower, [-np.inf, -np.inf])
    regulariser = pint.Tikhonov(1.0, ["u"])
    assert list(ode.problem(regularisers=[regulariser]).regularisers) == [regulariser]


def make(states=(a, b), rhs=(b, v), controls=(("u", v),), initial_state=(0, 0), **more):
    return SympyODE(states, rhs, dict(controls), initial_state=initial_state, **more)


F = sympy.Function("F")
I = sympy.I  # noqa: E741
CODE = "__import__('sys').exit()"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rhs": (b, t)}, ValueError, r"`SympyODE\(rhs=.*unknown symbol `t`.*declare it by"),
        ({"running_cost": t}, ValueError, r"running_cost=.*unknown symbol `t`"),
        ({"terminal_cost": v}, ValueError, r"terminal_cost=.*`v` of `controls`.*only states and"),
        ({"initial_state": (a, 0)}, ValueError, r"initial_state=.*`a` of `states`.*parameters"),
        ({"rhs": (b, sympy.Symbol("v", real=True))}, ValueError, "other assumptions"),
        ({"rhs": (b,)}, ValueError, r"rhs=.*must have 2 entries.*got 1"),
        ({"initial_state": (0,)}, ValueError, r"initial_state=.*must have 2 entries"),
        ({"states": (), "rhs": (), "initial_state": ()}, ValueError, "at least one state"),
        ({"states": (a, "b")}, TypeError, r"states=.*symbols, got the string 'b', which is not"),
        ({"controls": (("u", a + b),)}, TypeError, r"controls=.*got a \+ b"),
        ({"controls": (("u", a),)}, ValueError, r"controls=.*`a` is used twice, also in `states`"),
        ({"parameters": {"u": t}}, ValueError, "`u` is both a control and a parameter"),
        ({"time": a}, ValueError, r"time=.*`a` is used twice"),
        ({"rhs": (b, F(a))}, ValueError, r"rhs=.*undefined function `F\(a\)`"),
        ({"rhs": (b, v + sympy.zeta(a))}, ValueError, r"rhs=.*no numpy code for `zeta\(a\)`"),
        # Strings are not evaluated, wherever they are.
        ({"rhs": (b, CODE)}, TypeError, r"rhs=.*got the string .*which is not evaluated"),
        ({"rhs": "bv"}, TypeError, r"rhs=.*sequence such as a list, got the string 'bv'"),
        ({"rhs": np.array([b, CODE])}, TypeError, r"rhs=.*got the string"),
        ({"running_cost": CODE}, TypeError, r"running_cost=.*got the string"),
        ({"terminal_cost": CODE}, TypeError, r"terminal_cost=.*got the string"),
        ({"initial_state": ("1", 0)}, TypeError, r"initial_state=.*got the string"),
        ({"states": "ab"}, TypeError, r"states=.*got the string"),
        ({"controls": (("u", "v"),)}, TypeError, r"controls=.*got the string"),
        ({"parameters": {"p": [sympy.Symbol("p"), "q"]}}, TypeError, r"parameters=.*'q'"),
        ({"time": "t"}, TypeError, r"time=.*got the string"),
        # What is no expression
        ({"rhs": (b, None)}, TypeError, r"rhs=.*expressions and numbers, got None, a NoneType"),
        ({"rhs": (b, sympy.Eq(a, v))}, TypeError, r"rhs=.*got Eq\(a, v\), a Equality"),
        ({"rhs": (b, a > 0)}, TypeError, r"rhs=.*got a > 0, a StrictGreaterThan"),
        ({"rhs": (b, True)}, TypeError, r"rhs=.*got True, a bool"),
        ({"rhs": (b, sympy.sin)}, TypeError, r"rhs=.*got sin"),
        ({"rhs": (b, [v])}, TypeError, r"rhs=.*got \[v\], a list"),
        ({"rhs": (b, sympy.Matrix([v]))}, TypeError, r"rhs=.*Matrix"),
        ({"rhs": {b, v}}, TypeError, r"rhs=.*sequence such as a list, got .*a set"),
        ({"rhs": None}, TypeError, r"rhs=.*sequence such as a list, got None"),
        ({"running_cost": object()}, TypeError, r"running_cost=.*a object"),
        ({"controls": (("u", None),)}, TypeError, r"controls=.*got None"),
        ({"controls": ((1, v),)}, TypeError, r"controls=.*name of a field must be a string, got 1"),
        ({"controls": (("a{b}", v),)}, ValueError, r"`SympyODE\(controls=.*be called 'a{b}'"),
        ({"parameters": {"two words": t}}, ValueError, r"`SympyODE\(parameters=.*'two words'"),
        ({"parameters": [t]}, TypeError, r"parameters=.*mapping of names to symbols"),
        # What is not real or not finite
        ({"rhs": (b, I * a)}, ValueError, r"rhs=.*must be real.*`I\*a`"),
        ({"rhs": (b, 1j * a)}, ValueError, r"rhs=.*must be real"),
        ({"rhs": (b, sympy.sqrt(-2) * a)}, ValueError, r"rhs=.*must be real"),
        ({"rhs": (b, sympy.Integer(-8) ** sympy.Rational(1, 3))}, ValueError, "must be real"),
        ({"rhs": (b, sympy.asin(2) * a)}, ValueError, r"rhs=.*must be real"),
        ({"initial_state": (0, 1 + 2j)}, ValueError, r"initial_state=.*must be real"),
        ({"initial_state": (0, np.complex128(2j))}, ValueError, r"initial_state=.*must be real"),
        ({"rhs": (b, a / sympy.Integer(0))}, ValueError, r"rhs=.*infinity, NaN.*`zoo\*a`"),
        ({"running_cost": a + sympy.nan}, ValueError, r"running_cost=.*infinity, NaN"),
        ({"running_cost": float("nan")}, ValueError, r"running_cost=.*infinity, NaN"),
        ({"terminal_cost": sympy.Max(a, sympy.oo)}, ValueError, r"terminal_cost=.*infinity"),
        ({"initial_state": (0, np.inf)}, ValueError, r"initial_state=.*infinity, NaN"),
        (
            {"initial_state": (0, sympy.Integer(10) ** 400)},
            ValueError,
            r"initial_state=.*beyond floats",
        ),
        ({"rhs": (b, sympy.Float("1e400") * a)}, ValueError, r"rhs=.*beyond floats"),
        # What has no code or no derivative
        ({"rhs": (b, sympy.Lambda(a, a))}, TypeError, r"rhs=.*got Lambda"),
        ({"rhs": (b, a * sympy.CRootOf(b**3 - 2, 1))}, ValueError, r"rhs=.*complex"),
        ({"rhs": (b, sympy.DiracDelta(a))}, ValueError, r"rhs=.*no numpy code for `DiracDelta"),
        ({"running_cost": sympy.hyper([1], [2], a)}, ValueError, r"running_cost=.*hyper"),
        ({"rhs": (b, sympy.Sum(sympy.sin(t * a), (t, 0, v)))}, ValueError, "cannot evaluate"),
        ({"rhs": (b, sympy.Sum(a, (t, 1, 10**9)) * sympy.zeta(a))}, ValueError, "zeta"),
        ({"rhs": (b, sympy.Symbol("q", commutative=False) * v)}, TypeError, r"rhs=.*got v\*q"),
    ],
)
def test_errors(options, error, message):
    with pytest.raises(error, match=message) as raised:
        make(**options)
    assert "\n" not in str(raised.value) and "value_" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "rk5"}, r"`scheme\(name=.*'rk5'"),
        ({"quadrature": "simpson"}, r"quadrature=.*'simpson'"),
        ({"controls": {"w": (0, 1)}}, r"`SympyODE.problem\(controls=.*`w`, which is no field"),
        ({"controls": {"u": 1.0}}, r"`u` must be a pair \(lower, upper\) or a TimeControl"),
        ({"controls": {"u": pint.TimeControl(2)}}, r"`u` has shape \(2,\), its symbols \(1,\)"),
        ({"controls": {"u": pint.SharedControl(1)}}, r"`u` must be a TimeControl, got Shared"),
    ],
)
def test_errors_of_problem(options, message):
    with pytest.raises(ValueError, match=message):
        make().problem(**options)


def test_pint_does_not_import_sympy():
    """Only `symbolic` imports it, and no other module of pint imports that."""
    imports = re.compile(r"^\s*(?:from|import)\s.*\b(?:sympy|symbolic)\b", re.MULTILINE)
    paths = Path(pint.__file__).parent.rglob("*.py")
    users = {path for path in paths if imports.search(path.read_text(encoding="utf-8"))}
    assert {path.parent.name for path in users} == {"symbolic"}


def test_benchmark(capsys):
    path = ROOT / "benchmarks" / "symbolic_step.py"
    spec = importlib.util.spec_from_file_location("symbolic_step", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ratios = module.main(["--batch", "8", "--repeats", "3"])
    assert set(ratios) == {(8, method) for method in ("step", "adjoint.step", "adjoint.vjp")}
    assert "ratio" in capsys.readouterr().out
