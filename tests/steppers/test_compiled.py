"""Steps in machine code: the numbers of numpy, the cache, what cannot be compiled."""

import copy
import importlib.util
import logging
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import registry
import sympy
from ode_cases import compiled_symbolic, forced_problem, forced_symbolic

import pint
from pint.steppers import SCHEMES, Tableau
from pint.steppers.compiled import CompiledAdjoint, CompiledODE, CompiledStepper
from pint.steppers.symbolic import SympyODE
from pint.verify import check_problem

ROOT = Path(__file__).parents[2]
y, z, t, p = sympy.symbols("y z t p")
u = sympy.symbols("u:2")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="the extra `compiled` is not installed"
)


def grids(levels):
    """Return a uniform grid and one of unequal steps whose number the factors do not divide."""
    return [
        pint.TimeGrid.uniform(2.0, 24, coarsening=[2, 3][: levels - 1], levels=levels),
        pint.TimeGrid(
            2.0 * np.linspace(0, 1, 24) ** 1.1, coarsening=[2, 3][: levels - 1], levels=levels
        ),
    ]


IN_NUMPY = ("sdirk3", "dirk3", "imex-euler", "imex-rk2", "imex-rk3")


def test_a_scheme_without_machine_code():
    with pytest.raises(ValueError, match="machine code has no steps of the scheme 'sdirk3'"):
        forced_symbolic().problem("sdirk3", backend="compiled")


def results(problem, grid, **options):
    functional = pint.ReducedFunctional(problem, grid, **options)
    control = registry.random_control(functional.controls)
    return functional.value(control), functional.derivative(control).vector


def assert_same(one, other, tolerance=1e-13):
    assert one[0] == pytest.approx(other[0], rel=tolerance)
    np.testing.assert_allclose(one[1], other[1], rtol=0, atol=tolerance * np.abs(other[1]).max())


@pytest.mark.parametrize("name", sorted({*SCHEMES} - {*registry.SAME, *IN_NUMPY}))
def test_all_schemes_give_the_numbers_of_numpy(name):
    compiled, plain = compiled_symbolic(name), forced_symbolic().problem(name)
    for levels in (1, 3):
        for grid in grids(levels):
            assert_same(results(compiled, grid), results(plain, grid))


@pytest.mark.parametrize("rule", ["left", "right", "midpoint"])
def test_all_quadratures_give_the_numbers_of_numpy(rule):
    for grid in grids(2):
        compiled = compiled_symbolic("rk2", rule)
        assert_same(results(compiled, grid), results(forced_problem("rk2", rule), grid))


@pytest.mark.parametrize("relaxation", ["F", "FCF"])
def test_c_points_alone_give_the_numbers_of_numpy(relaxation):
    grid = pint.TimeGrid.uniform(2.0, 24, coarsening=3, levels=2)
    for name in ("rk4", "midpoint"):
        parts = [compiled_symbolic(name), forced_symbolic().problem(name)]
        options = {"storage": "C", "relaxation": relaxation}
        assert_same(*(results(problem, grid, **options) for problem in parts))


def test_optimisation_takes_the_same_way():
    grid = pint.TimeGrid.uniform(2.0, 24, coarsening=3, levels=2)
    for method in (pint.Lagged(iterations=4), pint.OneShot(iterations=4)):
        found = [
            pint.minimize(pint.ReducedFunctional(problem, grid), None, method)
            for problem in (compiled_symbolic("rk4"), forced_symbolic().problem("rk4"))
        ]
        assert found[0].objective == pytest.approx(found[1].objective, rel=1e-11)


def test_relaxation_makes_runs_of_steps(monkeypatch):
    """Not one call for the k-th steps of all intervals."""
    lengths = []
    own = CompiledStepper.advance
    monkeypatch.setattr(
        CompiledStepper,
        "advance",
        lambda self, s, *rest: (lengths.append((s.count, s.length)), own(self, s, *rest))[1],
    )
    grid = pint.TimeGrid.uniform(2.0, 24, coarsening=6, levels=2)
    results(compiled_symbolic("rk4"), grid)
    assert (4, 5) in lengths


# Functions

FUNCTIONS = [
    sympy.Piecewise((sympy.log(y), y > 0), (y**2, (y > -1) & (z < 0.5)), (sympy.sin(y), True)),
    sympy.Piecewise((y**2, y > -1)),
    sympy.Max(y, z, u[0]) + sympy.Min(y, -z, 0.3) * p,
    sympy.Abs(y - z) * u[0] + sympy.sign(z) * p,
    sympy.atan2(y, z) + sympy.Heaviside(y) * u[1] + sympy.Heaviside(z, 0.25) * y,
    sympy.erf(y) * sympy.erfc(z) + u[0] * sympy.exp(-(y**2)),
    sympy.Integer(1),
    sympy.pi * y / 3 + sympy.E**z + sympy.Rational(1, 3) * u[0],
    sympy.floor(3 * y) * u[0] + sympy.ceiling(z) + sympy.Mod(y, sympy.Rational(1, 3)),
    2 - u[0] * sympy.frac(3 * y) ** 2,
    (y**2 + 1) ** sympy.Rational(3, 2) + 2 ** u[0] + (y**2 + 1) ** p + y**5 - z**-2 / 100,
    sympy.sqrt(y) * sympy.Max(sympy.sqrt(y), 0) + sympy.tanh(u[1]),
    10**25 * y * sympy.Float("1e-25") + u[0] * sympy.cos(t),
]


def test_functions_give_the_numbers_of_numpy_also_at_kinks_and_for_nan():
    more = sympy.symbols(f"x:{len(FUNCTIONS) - 2}")
    ode = SympyODE(
        [y, z, *more],
        FUNCTIONS,
        {"u": u[0], "lambda": u[1]},
        parameters={"p": p},
        running_cost=sum(FUNCTIONS[2:6]) * more[0],
        initial_state=[0] * len(FUNCTIONS),
        time=t,
    )
    plain, compiled = ode.problem("rk2"), ode.problem("rk2", backend="compiled")
    random, count = np.random.default_rng(0), 20
    s = pint.TimeGrid.uniform(1.0, count).batch(0, range(count), 1)
    states = random.standard_normal((2, count, len(FUNCTIONS)))
    states[0, 0], states[0, 1, 0] = 0.0, np.nan
    blocks = {name: random.standard_normal((count, 1)) for name in ("u", "lambda")}
    theta, lam = {"p": np.array([0.7])}, random.standard_normal(states[0].shape)
    with np.errstate(all="ignore"):
        at = (states[0], blocks, theta)
        pairs = [
            (
                problem.stepper.step(s, *at),
                *flattened(problem.adjoint.vjp(s, *at, lam)),
                problem.objective.step_cost(s, states[0], states[1], blocks, theta),
                *flattened(problem.objective.step_cost_derivative(s, *states, blocks, theta)),
            )
            for problem in (plain, compiled)
        ]
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-13)


def flattened(parts):
    """Return arrays, and those in mappings, in one list."""
    return [
        array for part in parts for array in (part.values() if isinstance(part, dict) else [part])
    ]


def test_symbols_may_have_any_names_and_fields_any_number():
    names = ("y[0]", "lambda", "_0", "t0", "ü ∂", "math")
    a, b, c, d, e, f = map(sympy.Symbol, names)
    ode = SympyODE(
        [a, b],
        [b * c + d, -a + e * f],
        {"first": [c, d], "second": e},
        parameters={"third": f},
        running_cost=a**2 + c**2 + d**2 + e**2,
        initial_state=[f, 1],
    )
    for grid in grids(2):
        bounds = {"first": (-0.1, 0.1)}
        compiled = ode.problem("rk4", controls=bounds, backend="compiled")
        assert_same(results(compiled, grid), results(ode.problem("rk4", controls=bounds), grid))


def test_a_problem_without_controls():
    ode = SympyODE([y], [-y], running_cost=y**2, initial_state=[1])
    functional = pint.ReducedFunctional(
        ode.problem("rk4", backend="compiled"), pint.TimeGrid.uniform(1.0, 64)
    )
    value = functional.value(functional.controls.zeros())
    assert value == pytest.approx((1 - np.exp(-2)) / 2, rel=1e-3)


def test_states_may_be_long():
    x = sympy.symbols("x:6")
    rhs = [sympy.sin(x[i - 1]) - x[i] + u[0] for i in range(6)]
    ode = SympyODE(x, rhs, {"u": u[0]}, running_cost=x[3] ** 2, initial_state=np.linspace(0, 1, 6))
    grid = grids(1)[0]
    compiled = ode.problem("implicit-euler", backend="compiled")
    assert_same(results(compiled, grid), results(ode.problem("implicit-euler"), grid), 1e-12)


# What cannot be compiled, and checks


def test_what_cannot_be_compiled_is_named():
    ode = SympyODE([y], [sympy.besselj(0, y)], initial_state=[1])
    with pytest.raises(ValueError, match=r'`besselj\(0, y\)` cannot be compiled.*"numpy"'):
        ode.problem("rk4", backend="compiled")
    with pytest.raises(ValueError, match=r"`SympyODE.problem\(backend=...\)` is"):
        ode.problem("rk4", backend="fast")


def test_auto_takes_what_is_faster(caplog):
    caplog.set_level(logging.INFO, "pint")
    ode = forced_symbolic()
    assert not isinstance(ode.problem("rk4", backend="auto", steps=20).stepper, CompiledStepper)
    assert isinstance(ode.problem("rk4", backend="auto", steps=10**5).stepper, CompiledStepper)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "steps in numpy",
        "steps in machine code",
    ]
    bessel = SympyODE([y], [sympy.besselj(0, y)], initial_state=[1])
    assert not isinstance(bessel.problem("rk4", backend="auto").stepper, CompiledStepper)
    assert "`besselj(0, y)` cannot be compiled" in caplog.text


def test_without_numba(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "pint.steppers.compiled.numba_adaptor", raising=False)
    with pytest.raises(ImportError, match="compiled steps need numba: install the extra"):
        compiled_symbolic("rk4")
    problem = forced_symbolic().problem("rk4", backend="auto")
    assert not isinstance(problem.stepper, CompiledStepper)
    assert caplog.text.count("steps in numpy: compiled steps need numba") == 1


def test_a_wrong_derivative_in_the_machine_code_is_found():
    problem = compiled_symbolic("rk2")
    machine = problem.stepper.machine
    text = machine.code.text.replace("dtheta[1] += float(", "dtheta[1] += float(0.9 * ", 1)
    wrong = replace(machine, code=replace(machine.code, text=text))
    stepper = CompiledStepper(problem.stepper.stepper, wrong, ["u"], ["theta"])
    adjoint = CompiledAdjoint(stepper, problem.adjoint.adjoint)
    planted = pint.Problem(stepper, adjoint, problem.objective, problem.controls)
    failed = [
        str(check) for check in check_problem(planted, grids(1)[0]).checks if not check.passed
    ]
    assert any("CompiledAdjoint.vjp, level 0, theta['theta'], entry [1]" in one for one in failed)


def test_newtons_method_that_fails_warns_and_gives_nan():
    ode = SympyODE([y], [y**2 + 1], initial_state=[0])
    problem = ode.problem("implicit-euler", backend="compiled")
    s = pint.TimeGrid.uniform(4.0, 2).batch(0, range(2), 1)
    with pytest.warns(RuntimeWarning, match=r"implicit-euler step at t = 0 .* 2 of 2 steps"):
        result = problem.stepper.step(s, np.ones((2, 1)), {}, {})
    assert np.isnan(result).all()


def test_a_compiled_problem_can_be_pickled():
    problem = compiled_symbolic("rk2")
    again = pickle.loads(pickle.dumps(problem))
    for grid in grids(1):
        assert_same(results(problem, grid), results(again, grid), 0)


# The cache

PROGRAM = """
from ode_cases import compiled_symbolic
kernels = compiled_symbolic("forward-euler").stepper.machine.kernels
print(sum(sum(one.stats.cache_hits.values()) for one in kernels.values()))
"""


def hits_in_a_process(folder):
    """Return how many loops a new process finds in a cache."""
    environment = {"PINT_CACHE": str(folder), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    program = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def hits(monkeypatch):
    """Return how many loops this process finds in its cache, in which it has not looked so far."""
    monkeypatch.setattr("pint.steppers.compiled.machine._LOADED", {})
    kernels = compiled_symbolic("forward-euler").stepper.machine.kernels
    return sum(sum(one.stats.cache_hits.values()) for one in kernels.values())


def test_a_second_process_does_not_compile(tmp_path, monkeypatch):
    monkeypatch.setenv("PINT_CACHE", str(tmp_path))
    assert hits(monkeypatch) == 0
    assert hits_in_a_process(tmp_path) == 4
    (folder,) = tmp_path.iterdir()
    # A file that has been damaged is not used, but replaced.
    damaged = next((folder / "__pycache__").glob("*advance*.nbc"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:100] + bytes(8) + content[108:])
    assert hits(monkeypatch) == 0
    assert hits(monkeypatch) == 4
    assert list(tmp_path.iterdir()) == [folder]


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PINT_CACHE", str(tmp_path / "file" / "cache"))
    problem = compiled_symbolic("forward-euler")
    assert caplog.text.count("compiled steps are not kept for the next run") == 1
    plain = forced_symbolic().problem("forward-euler")
    assert_same(results(problem, grids(1)[0]), results(plain, grids(1)[0]))


# The user's own functions


def own_ode():
    """Return the pendulum of `forced_symbolic` by functions of one state."""
    import math

    def f(t, y, u, theta, out):
        out[0] = y[1]
        out[1] = -theta[0] * math.sin(y[0]) - theta[1] * y[1] ** 3 + u[0] * math.cos(t)
        out[1] += u[1] * y[0]

    def f_vjp(t, y, u, theta, lam, dy, du, dtheta):
        dy[0] = (-theta[0] * math.cos(y[0]) + u[1]) * lam[1]
        dy[1] = lam[0] - 3 * theta[1] * y[1] ** 2 * lam[1]
        du[0], du[1] = math.cos(t) * lam[1], y[0] * lam[1]
        dtheta[0], dtheta[1] = -math.sin(y[0]) * lam[1], -(y[1] ** 3) * lam[1]

    def jacobian(t, y, u, theta, out):
        out[0, 1] = 1.0
        out[1, 0] = -theta[0] * math.cos(y[0]) + u[1]
        out[1, 1] = -3 * theta[1] * y[1] ** 2

    def running(t, y, u, theta):
        return (y[0] - math.sin(t)) ** 2 / 2 + u[0] ** 2 * y[1] ** 2 + theta[0] * u[1] ** 2

    def running_gradient(t, y, u, theta, dy, du, dtheta):
        dy[0], dy[1] = y[0] - math.sin(t), 2 * u[0] ** 2 * y[1]
        du[0], du[1] = 2 * u[0] * y[1] ** 2, 2 * theta[0] * u[1]
        dtheta[0] = u[1] ** 2

    def terminal(y, theta):
        return y[0] ** 2 * y[1] + theta[1] * y[1]

    def terminal_gradient(y, theta, dy, dtheta):
        dy[0], dy[1], dtheta[1] = 2 * y[0] * y[1], y[0] ** 2 + theta[1], y[1]

    return CompiledODE(
        f,
        f_vjp,
        jacobian,
        initial_state=[0.3, 0.5],
        controls={"u": pint.TimeControl((2, 1)), "theta": pint.SharedControl(2)},
        running_cost=(running, running_gradient),
        terminal_cost=(terminal, terminal_gradient),
    )


RALSTON = Tableau([[0, 0], [2 / 3, 0]], [1 / 4, 3 / 4], [0, 2 / 3])


@pytest.mark.parametrize("scheme", [RALSTON, "midpoint"])
def test_the_users_own_functions(scheme):
    """They are checked like every problem, and a control block may have any shape."""
    ode = own_ode()
    problem = ode.problem(scheme)
    # A copy, of which checks make some, compiles nothing again.
    assert copy.deepcopy(problem).stepper.machine.kernels is problem.stepper.machine.kernels
    if scheme == "midpoint":
        check_problem(problem, grids(2)[1]).require()
    stepper, _ = pint.steppers.scheme(ode, scheme)
    y0, blocks = np.array([[0.2, -0.4]]), {"u": np.array([[[0.3], [0.1]]])}
    s, theta = pint.TimeGrid.uniform(1.0, 8).batch(0, range(1), 1), {"theta": np.array([1.1, 0.2])}
    np.testing.assert_allclose(
        problem.stepper.step(s, y0, blocks, theta), stepper.step(s, y0, blocks, theta), rtol=1e-14
    )


def test_own_functions_that_cannot_be_compiled():
    def f(t, y, u, theta, out):
        out[0] = open("x")

    ode = CompiledODE(f, f, initial_state=[0.0], controls={"u": pint.TimeControl(1)})
    with pytest.raises(ValueError, match="the steps cannot be compiled"):
        ode.problem("rk2")
    with pytest.raises(TypeError, match=r"`CompiledODE\(f=...\)` must be a function"):
        CompiledODE(None, f, initial_state=[0.0], controls={})


def test_own_functions_with_another_coarse_step():
    """Their Jacobian is made of products where the user has none."""
    full = own_ode()
    ode = CompiledODE(
        *(full.functions[name] for name in ("f", "f_vjp")),
        initial_state=full.initial_state,
        controls=full.controls,
    )
    fine = ode.problem("forward-euler", coarse="implicit-euler").stepper
    assert fine.kept_shape is None and fine.coarsen(1).coarsen(2) is fine.coarsen(2)
    y0, blocks = np.array([[0.2, -0.4]]), {"u": np.array([[[0.3], [0.1]]])}
    s, theta = pint.TimeGrid.uniform(4.0, 8).batch(0, range(1), 1), {"theta": np.array([1.1, 0.2])}
    expected = pint.Theta(full).step(s, y0, blocks, theta)
    np.testing.assert_allclose(fine.coarsen(1).step(s, y0, blocks, theta), expected, rtol=1e-13)


def test_estimates_of_equations_without_a_solution():
    """The numbers of numpy, also of the transposes."""
    y = sympy.Symbol("y")
    ode = SympyODE([y], [-1 / y], initial_state=[1])
    compiled, plain = (
        ode.problem("forward-euler", coarse="two-solve", backend=backend)
        for backend in ("compiled", "numpy")
    )
    s = pint.TimeGrid.uniform(6.0, 3).batch(0, range(3), 1)
    states, lam = np.array([[4.0], [1.0], [0.3]]), np.ones((3, 1))
    for one, other in (
        (compiled.stepper.coarsen(1).step, plain.stepper.coarsen(1).step),
        (compiled.adjoint.coarsen(1).step, plain.adjoint.coarsen(1).step),
    ):
        more = (lam,) if "Adjoint" in type(one.__self__).__name__ else ()
        found = one(s, states, {}, {}, *more)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, other(s, states, {}, {}, *more), rtol=1e-12)
