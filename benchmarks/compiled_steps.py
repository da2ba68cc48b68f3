"""Value and gradient of small ODEs: compiled steps, a loop by hand, JAX, and steps in numpy.

Van der Pol and a cart-pole of four states, RK4, trapezoidal cost, on one level. The loop by hand
is below. All run in turn, `CALLS` calls at a time as in an optimisation; the table has medians in
nanoseconds a step, and ratios. What is not installed is left out.
``compile s`` is the time to make the problem: anew, and from the cache.

    python benchmarks/run_all.py compiled_steps [--quick] [--output FOLDER]
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import sympy
from measuring import Row, installed, medians, options_of, plot_lines, print_table, save

import pint
from pint.steppers.symbolic import SympyODE

SIZES = (1024, 16384, 262144)
CALLS = {1024: 20, 16384: 5, 262144: 1}
FINAL_TIME = {"van-der-pol": 10.0, "cart-pole": 2.0}


def van_der_pol() -> SympyODE:
    a, b, u = sympy.symbols("a b u")
    rhs, cost = [(1 - b**2) * a - b + u, a], a**2 + b**2 + u**2
    return SympyODE([a, b], rhs, {"u": u}, running_cost=cost, initial_state=[0, 1])


def cart_pole() -> SympyODE:
    """Cart of 1 kg, pole of 0.3 kg and 0.5 m; q is its angle, 0 where it hangs."""
    x, q, v, w, u = sympy.symbols("x q v w u")
    s, c = sympy.sin(q), sympy.cos(q)
    below = 1 + 0.3 * s**2
    rhs = [
        v,
        w,
        (0.15 * s * w**2 + u + 2.943 * c * s) / below,
        -(0.15 * c * s * w**2 + u * c + 12.753 * s) / (0.5 * below),
    ]
    cost = x**2 + c + 0.1 * w**2 + 0.01 * u**2
    return SympyODE([x, q, v, w], rhs, {"u": u}, running_cost=cost, initial_state=[0, 0, 0, 0])


ODES: dict[str, Callable[[], SympyODE]] = {"van-der-pol": van_der_pol, "cart-pole": cart_pole}


# The loop by hand: forward with the cost, states stored; backward with stages made again


def by_hand(name: str) -> Callable[[np.ndarray, float], tuple[float, np.ndarray]]:
    """Return the function of control and step size that returns J and dJ/du."""
    import numba

    inline = numba.njit(error_model="numpy", inline="always")
    loop = numba.njit(error_model="numpy", nogil=True)

    if name == "van-der-pol":

        @loop
        def sweep(u, dt, y, g):
            a, b, cost, n = y[0, 0], y[0, 1], 0.0, len(u)
            for i in range(n):
                v = u[i, 0]
                cost += 0.5 * dt * (a * a + b * b + v * v)
                k1, l1 = (1 - b * b) * a - b + v, a
                p, q = a + 0.5 * dt * k1, b + 0.5 * dt * l1
                k2, l2 = (1 - q * q) * p - q + v, p
                p, q = a + 0.5 * dt * k2, b + 0.5 * dt * l2
                k3, l3 = (1 - q * q) * p - q + v, p
                p, q = a + dt * k3, b + dt * l3
                k4, l4 = (1 - q * q) * p - q + v, p
                a += dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
                b += dt / 6 * (l1 + 2 * l2 + 2 * l3 + l4)
                cost += 0.5 * dt * (a * a + b * b + v * v)
                y[i + 1, 0], y[i + 1, 1] = a, b
            la, lb = dt * a, dt * b
            for i in range(n - 1, -1, -1):
                a, b, v = y[i, 0], y[i, 1], u[i, 0]
                k, m = (1 - b * b) * a - b + v, a
                p2, q2 = a + 0.5 * dt * k, b + 0.5 * dt * m
                k, m = (1 - q2 * q2) * p2 - q2 + v, p2
                p3, q3 = a + 0.5 * dt * k, b + 0.5 * dt * m
                k, m = (1 - q3 * q3) * p3 - q3 + v, p3
                p4, q4 = a + dt * k, b + dt * m
                s, t = dt / 6 * la, dt / 6 * lb
                m4, n4, of_u = (1 - q4 * q4) * s + t, -(2 * q4 * p4 + 1) * s, s
                s, t = dt / 3 * la + dt * m4, dt / 3 * lb + dt * n4
                m3, n3, of_u = (1 - q3 * q3) * s + t, -(2 * q3 * p3 + 1) * s, of_u + s
                s, t = dt / 3 * la + 0.5 * dt * m3, dt / 3 * lb + 0.5 * dt * n3
                m2, n2, of_u = (1 - q2 * q2) * s + t, -(2 * q2 * p2 + 1) * s, of_u + s
                s, t = dt / 6 * la + 0.5 * dt * m2, dt / 6 * lb + 0.5 * dt * n2
                m1, n1, of_u = (1 - b * b) * s + t, -(2 * b * a + 1) * s, of_u + s
                g[i, 0] = of_u + 2 * dt * v
                la += m1 + m2 + m3 + m4 + 2 * dt * a
                lb += n1 + n2 + n3 + n4 + 2 * dt * b
            return cost

    else:

        @inline
        def f(q, v, w, u):
            s, c = math.sin(q), math.cos(q)
            below = 1 + 0.3 * s * s
            return (
                v,
                w,
                (0.15 * s * w * w + u + 2.943 * c * s) / below,
                -(0.15 * c * s * w * w + u * c + 12.753 * s) / (0.5 * below),
            )

        @inline
        def transposed(q, w, u, lx, lq, lv, lw):
            s, c = math.sin(q), math.cos(q)
            below = 1 + 0.3 * s * s
            top, other = 0.15 * s * w * w + u + 2.943 * c * s, c * s * w * w
            bottom = 0.15 * other + u * c + 12.753 * s
            slope, twice, inverse = 0.6 * s * c, c * c - s * s, 1 / below
            of_top = 0.15 * c * w * w + 2.943 * twice
            of_bottom = 0.15 * twice * w * w - u * s + 12.753 * c
            mq = lv * (of_top - top * slope * inverse) * inverse
            mq -= 2 * lw * (of_bottom - bottom * slope * inverse) * inverse
            mw = lq + (0.3 * s * w * lv - 0.6 * c * s * w * lw) * inverse
            return mq, lx, mw, (lv - 2 * c * lw) * inverse

        @loop
        def sweep(u, dt, y, g):
            x, q, v, w, cost, n = y[0, 0], y[0, 1], y[0, 2], y[0, 3], 0.0, len(u)
            h = 0.5 * dt
            for i in range(n):
                p = u[i, 0]
                cost += h * (x * x + math.cos(q) + 0.1 * w * w + 0.01 * p * p)
                a1, b1, c1, d1 = f(q, v, w, p)
                a2, b2, c2, d2 = f(q + h * b1, v + h * c1, w + h * d1, p)
                a3, b3, c3, d3 = f(q + h * b2, v + h * c2, w + h * d2, p)
                a4, b4, c4, d4 = f(q + dt * b3, v + dt * c3, w + dt * d3, p)
                x += dt / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
                q += dt / 6 * (b1 + 2 * b2 + 2 * b3 + b4)
                v += dt / 6 * (c1 + 2 * c2 + 2 * c3 + c4)
                w += dt / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
                cost += h * (x * x + math.cos(q) + 0.1 * w * w + 0.01 * p * p)
                y[i + 1, 0], y[i + 1, 1], y[i + 1, 2], y[i + 1, 3] = x, q, v, w
            lx, lq, lv, lw = dt * x, -h * math.sin(q), 0.0, 0.1 * dt * w
            for i in range(n - 1, -1, -1):
                x, q, v, w, p = y[i, 0], y[i, 1], y[i, 2], y[i, 3], u[i, 0]
                _, b, c, d = f(q, v, w, p)
                q2, v2, w2 = q + h * b, v + h * c, w + h * d
                _, b, c, d = f(q2, v2, w2, p)
                q3, v3, w3 = q + h * b, v + h * c, w + h * d
                _, b, c, d = f(q3, v3, w3, p)
                q4, w4 = q + dt * b, w + dt * d
                # The transpose has no part with respect to x: l stays as it is there.
                r, s = dt / 6, dt / 3
                b4, c4, d4, of_u4 = transposed(q4, w4, p, r * lx, r * lq, r * lv, r * lw)
                b3, c3, d3, of_u3 = transposed(
                    q3, w3, p, s * lx, s * lq + dt * b4, s * lv + dt * c4, s * lw + dt * d4
                )
                b2, c2, d2, of_u2 = transposed(
                    q2, w2, p, s * lx, s * lq + h * b3, s * lv + h * c3, s * lw + h * d3
                )
                b1, c1, d1, of_u1 = transposed(
                    q, w, p, r * lx, r * lq + h * b2, r * lv + h * c2, r * lw + h * d2
                )
                g[i, 0] = of_u1 + of_u2 + of_u3 + of_u4 + 0.02 * dt * p
                lx += 2 * dt * x
                lq += b1 + b2 + b3 + b4 - dt * math.sin(q)
                lv += c1 + c2 + c3 + c4
                lw += d1 + d2 + d3 + d4 + 0.2 * dt * w
            return cost

    start = np.asarray(ODES[name]().initial_state)
    blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def evaluate(u: np.ndarray, dt: float) -> tuple[float, np.ndarray]:
        if len(u) not in blocks:
            blocks[len(u)] = np.zeros((len(u) + 1, len(start))), np.zeros(u.shape)
        y, g = blocks[len(u)]
        y[0] = start
        return sweep(u, dt, y, g), g

    return evaluate


def by_jax(name: str) -> Callable[[np.ndarray, float], tuple[float, Any]]:
    """Return ``jax.jit(jax.value_and_grad(...))`` of a scan over the steps."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def f(y: Any, u: Any) -> Any:
        if name == "van-der-pol":
            return jnp.stack([(1 - y[1] ** 2) * y[0] - y[1] + u[0], y[0]])
        s, c, w = jnp.sin(y[1]), jnp.cos(y[1]), y[3]
        below = 1 + 0.3 * s**2
        push = (0.15 * s * w**2 + u[0] + 2.943 * c * s) / below
        turn = -(0.15 * c * s * w**2 + u[0] * c + 12.753 * s) / (0.5 * below)
        return jnp.stack([y[2], w, push, turn])

    def running(y: Any, u: Any) -> Any:
        if name == "van-der-pol":
            return y[0] ** 2 + y[1] ** 2 + u[0] ** 2
        return y[0] ** 2 + jnp.cos(y[1]) + 0.1 * y[3] ** 2 + 0.01 * u[0] ** 2

    start = jnp.asarray(np.asarray(ODES[name]().initial_state))

    def value(u: Any, dt: Any) -> Any:
        def step(y: Any, block: Any) -> Any:
            k1 = f(y, block)
            k2 = f(y + 0.5 * dt * k1, block)
            k3 = f(y + 0.5 * dt * k2, block)
            k4 = f(y + dt * k3, block)
            new = y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            return new, 0.5 * dt * (running(y, block) + running(new, block))

        return jax.lax.scan(step, start, u)[1].sum()

    function = jax.jit(jax.value_and_grad(value))

    def evaluate(u: np.ndarray, dt: float) -> tuple[float, Any]:
        cost, gradient = function(u, dt)
        return float(cost), gradient.block_until_ready()

    return evaluate


def by_pint(problem: pint.Problem, final_time: float, u: np.ndarray) -> Callable[[], Any]:
    """Return the function that returns J and its gradient, unweighted."""
    grid = pint.TimeGrid.uniform(final_time, len(u))
    functional = pint.ReducedFunctional(problem, grid)
    control = functional.controls.control(u=u)
    return lambda: functional.value_and_gradient(control)


def main(arguments: list[str] | None = None) -> list[Row]:
    """Print and write the table; AssertionError if results differ."""
    options = options_of(__doc__, arguments, repeats=15)
    rows: list[Row] = []
    for name in ODES:
        ode, final_time = ODES[name](), FINAL_TIME[name]
        compiled, anew, cached = made(ode)
        loop = by_hand(name)
        scan = by_jax(name) if installed("jax") else None
        for steps in SIZES[:1] if options.quick else SIZES:
            u = 0.3 * np.sin(np.arange(steps) / 7.0)[:, None]
            dt = final_time / steps
            functions: dict[str, Callable[[], Any]] = {
                "by hand": partial(loop, u, dt),
                "compiled": by_pint(compiled, final_time, u),
            }
            if scan is not None:
                functions["jax"] = partial(scan, u, dt)
            check(functions, dt)
            calls = CALLS[steps]
            several = {name: partial(repeat, one, calls) for name, one in functions.items()}
            times = {
                name: value / calls for name, value in medians(several, options.repeats).items()
            }
            plain = by_pint(ode.problem("rk4"), final_time, u)
            begin = time.perf_counter()
            plain()
            times["numpy"] = time.perf_counter() - begin
            row: Row = {"problem": name, "N": steps}
            row |= {f"{one} ns/step": 1e9 * value / steps for one, value in times.items()}
            row["compiled/by hand"] = times["compiled"] / times["by hand"]
            for other in ("jax", "numpy"):
                row[f"{other}/compiled"] = times.get(other, math.nan) / times["compiled"]
            row["compile s"] = anew
            row["from cache s"] = cached
            rows.append(row)
    print_table("Value and gradient, one level, one core", rows)
    save("compiled_steps", rows, options.output)
    lines = {
        f"{name}, {row_name}": {
            row["N"]: 1e-9 * row["N"] * row[f"{row_name} ns/step"]
            for row in rows
            if row["problem"] == name
        }
        for name in ODES
        for row_name in ("by hand", "compiled", "numpy")
    }
    plot_lines(options.output / "compiled_steps.png", "Value and gradient", "steps", lines)
    return rows


def repeat(function: Callable[[], Any], calls: int) -> None:
    """Call a function several times."""
    for _ in range(calls):
        function()


def made(ode: SympyODE) -> tuple[pint.Problem, float, float]:
    """Return the compiled problem, and the seconds to make it anew and with its machine code."""
    before, seconds = os.environ.get("PINT_CACHE"), []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PINT_CACHE"] = folder
        for _ in range(2):
            begin = time.perf_counter()
            problem = ode.problem("rk4", backend="compiled")
            seconds.append(time.perf_counter() - begin)
    del os.environ["PINT_CACHE"]
    if before is not None:
        os.environ["PINT_CACHE"] = before
    return problem, seconds[0], seconds[1]


def check(functions: dict[str, Callable[[], Any]], dt: float) -> None:
    """Raise AssertionError unless all have the same J and the same gradient."""
    results = {name: function() for name, function in functions.items()}
    cost, gradient = results["by hand"]
    for name, (value, slope) in results.items():
        g = slope["u"] * dt if isinstance(slope, pint.Control) else np.asarray(slope)
        assert abs(value - cost) < 1e-11 * abs(cost), f"J of {name}: {value}, by hand {cost}"
        error = np.abs(g - gradient).max() / np.abs(gradient).max()
        assert error < 1e-9, f"gradient of {name} differs by {error:.1e}"


if __name__ == "__main__":
    main()
