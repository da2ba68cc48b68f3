"""The source of one step of a scheme and of its transpose, written out for states of d numbers.

States are tuples of numbers, so that a compiler holds them in registers. The functions call ``_f``,
``_f_vjp`` and ``_f_jacobian`` of a right-hand side, and are called by
`pint.steppers.compiled.kernels`.
"""

from __future__ import annotations

from collections.abc import Sequence

from pint.steppers.newton import FAR, ITERATIONS, ROUNDOFF, SHRINKS, STAGNATION, TINY
from pint.steppers.runge_kutta import Tableau
from pint.steppers.theta import Coefficients

HELPERS = """
def _larger(a, b):
    return a if a >= b or a != a else b


def _smaller(a, b):
    return a if a <= b or a != a else b


def _sign(x):
    return x if x != x else (1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0))


def _heaviside(x, at_zero):
    return x if x != x else (1.0 if x > 0.0 else (0.0 if x < 0.0 else at_zero))
"""
"""What the code calls; unlike Python's own `max` these hand NaN on, as numpy's functions do."""

SIGNATURE = "t0, dt, y, u, theta, guess, kept, row, keeps, work"


def vectors(d: int, controls: Sequence[int]) -> str:
    """Return the functions that read, write and add states, and blocks of the control.

    Parameters
    ----------
    d : int
        Length of a state.
    controls : sequence of int
        Length of a block of each field.
    """
    # Without fields the kernels get one of length zero.
    places = [(k, i) for k, length in enumerate(controls) for i in range(length)]
    lines = ["def _load(block, row):", f"return {each(d, 'block[row, {i}]')}"]
    code = [block(lines)]
    for name, sign in (("_store", "="), ("_increase", "+=")):
        body = [f"block[row, {i}] {sign} y[{i}]" for i in range(d)]
        code.append(block([f"def {name}(block, row, y):", *body]))
    code.append(block(["def _sum(a, b):", f"return {each(d, 'a[{i}] + b[{i}]')}"]))
    code.append(block(["def _half(a, b):", f"return {each(d, '0.5 * a[{i}] + 0.5 * b[{i}]')}"]))
    code.append(block(["def _scaled(c, a):", f"return {each(d, 'c * a[{i}]')}"]))
    reads = as_tuple([f"u[{k}][row, {i}]" for k, i in places])
    code.append(block(["def _control(u, row):", f"return {reads}"]))
    adds = [f"du[{k}][row, {i}] += v[{n}]" for n, (k, i) in enumerate(places)]
    code.append(block(["def _add_control(du, row, v):", *(adds or ["pass"])]))
    return "\n\n".join(code)


def runge_kutta(tableau: Tableau, d: int, control_length: int) -> str:
    """Return ``_step`` and ``_step_vjp`` of an explicit scheme."""
    a, b, c = tableau.a, tableau.b, tableau.c
    stages = range(len(b))
    times = [_time(one) for one in c]

    def states(of: Sequence[int]) -> list[str]:
        lines = ["y_0 = y"]
        for i in of:
            lines.append(f"k_{i} = _f({times[i]}, y_{i}, u, theta, work)")
            if i + 1 < len(b):
                lines.append(f"y_{i + 1} = {_stage('y', 'dt', a[i + 1], 'k', d)}")
        return lines

    step = [*states(stages), f"return True, {_stage('y', 'dt', b, 'k', d)}"]
    back = states(stages[:-1])
    for i in reversed(stages):
        seeds = [
            _times(
                "dt", [(b[i], f"lam[{n}]"), *((a[j][i], f"l_{j}[{n}]") for j in stages[i + 1 :])]
            )
            for n in range(d)
        ]
        back.append(f"s = {as_tuple(seeds)}")
        back.append(f"l_{i}, m_{i} = _f_vjp({times[i]}, y_{i}, u, theta, s, dtheta, work)")
    of_y = each(d, " + ".join(["lam[{i}]", *(f"l_{j}[{{i}}]" for j in reversed(stages))]))
    of_u = each(control_length, " + ".join(f"m_{j}[{{i}}]" for j in reversed(stages)))
    back.append(f"return True, {of_y}, {of_u}")
    return both(step, back)


def theta_scheme(coefficients: Coefficients, d: int, control_length: int, estimates: bool) -> str:
    """Return ``_step`` and ``_step_vjp`` of an implicit scheme, solved by Newton's method.

    With `estimates` an equation that is not solved gives an estimate: see `Newton`.
    """
    explicit, implicit, at, beyond = (
        coefficients.explicit,
        coefficients.implicit,
        coefficients.at,
        coefficients.beyond,
    )
    solve = ["base = y"]
    if explicit:
        solve += [
            "k = _f(t0, y, u, theta, work)",
            f"base = {each(d, f'y[{{i}}] + {explicit!r} * dt * k[{{i}}]')}",
        ]
    scaled = f"(guess[{{i}}] + {beyond!r} * y[{{i}}]) / {1 + beyond!r}"
    start = each(d, scaled) if beyond else "guess"
    solve += [
        f"h = {implicit!r} * dt",
        f"t = t0 + {at!r} * dt",
        f"start = {start}",
        "solved, z = _implicit(t, h, base, start, y, u, theta, work)",
    ]
    result = each(d, f"z[{{i}}] + {beyond!r} * (z[{{i}}] - y[{{i}}])") if beyond else "z"
    step = [*solve, "if keeps:", *(f"    kept[row, {i}] = z[{i}]" for i in range(d))]
    step.append(f"return solved, {result}")
    kept = each(d, "kept[row, {i}]")
    back = ["if keeps:", f"    h, t, z = {implicit!r} * dt, t0 + {at!r} * dt, {kept}"]
    back += ["    solved = True", "else:", *(f"    {line}" for line in solve)]
    right = each(d, f"{1 + beyond!r} * lam[{{i}}]") if beyond else "lam"
    back += [
        "_fill_matrix(t, h, z, u, theta, work, True)",
        f"mu = _turned({right}, work)",
        f"s = {each(d, 'h * mu[{i}]')}",
        "unused, of_u = _f_vjp(t, z, u, theta, s, dtheta, work)",
        f"of_y = {each(d, f'mu[{{i}}] - {beyond!r} * lam[{{i}}]') if beyond else 'mu'}",
    ]
    if explicit:
        back += [
            f"s = {each(d, f'{explicit!r} * dt * mu[{{i}}]')}",
            "more_y, more_u = _f_vjp(t0, y, u, theta, s, dtheta, work)",
            f"of_y = {each(d, 'of_y[{i}] + more_y[{i}]')}",
            f"of_u = {each(control_length, 'of_u[{i}] + more_u[{i}]')}",
        ]
    back.append("return solved, of_y, of_u")
    return "\n\n".join([newton(d, estimates), both(step, back)])


ELIMINATION = """
def _eliminate(work, n):
    for i in range(n):
        pivot = i
        for k in range(i + 1, n):
            if abs(work[k, i]) > abs(work[pivot, i]):
                pivot = k
        if pivot != i:
            for j in range(i, n + 1):
                work[i, j], work[pivot, j] = work[pivot, j], work[i, j]
        for k in range(i + 1, n):
            factor = work[k, i] / work[i, i]
            for j in range(i + 1, n + 1):
                work[k, j] -= factor * work[i, j]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            work[i, n] -= work[i, j] * work[j, n]
        work[i, n] /= work[i, i]


def _row_size(matrix, row, z):
    total = 0.0
    for j in range(len(z)):
        total += abs(matrix[row, j]) * abs(z[j])
    return total
"""
"""Solves with the first n columns of an array for the last one, in place; sizes of its rows."""


def newton(d: int, estimates: bool) -> str:
    """Return the functions that solve ``z = base + h f(t, z)``: see `pint.steppers.Theta`."""
    fill = [
        "def _fill_matrix(t, h, z, u, theta, work, turned):",
        "matrix, jacobian = work[0], work[1]",
        "jacobian[:, :] = 0.0",
        "_f_jacobian(t, z, u, theta, jacobian, work)",
        f"for i in range({d}):",
        f"    for j in range({d}):",
        "        slope = jacobian[j, i] if turned else jacobian[i, j]",
        "        matrix[i, j] = (1.0 if i == j else 0.0) - h * slope",
    ]
    # The right-hand side is the last column: elimination and substitution in place.
    solved = [
        "def _solved(right, work):",
        *(f"work[0][{i}, {d}] = right[{i}]" for i in range(d)),
        f"_eliminate(work[0], {d})",
        f"return {each(d, f'work[0][{{i}}, {d}]')}",
    ]
    turned = ["def _turned(right, work):", "x = _solved(right, work)"]
    turned.append("return x if math.isfinite(_size(x)) else right" if estimates else "return x")
    lost = each(d, "math.nan")
    worst = "abs(r[0]) / (scale[0] + tiny)".replace("tiny", repr(TINY))
    for i in range(1, d):
        worst = f"_larger({worst}, abs(r[{i}]) / (scale[{i}] + {TINY!r}))"
    iterate = [
        "def _newton(t, h, base, z, u, theta, work):",
        f"reach, last = {each(d, '0.0')}, math.inf",
        f"for iteration in range({ITERATIONS + 1}):",
        "    k = _f(t, z, u, theta, work)",
        f"    slope = {each(d, 'h * k[{i}]')}",
        f"    r = {each(d, 'z[{i}] - base[{i}] - slope[{i}]')}",
        f"    scale = {each(d, 'abs(base[{i}]) + abs(slope[{i}]) + abs(z[{i}]) + reach[{i}]')}",
        f"    worst, finite = {worst}, _size(scale) < math.inf",
        f"    if worst <= {ROUNDOFF!r} and finite:",
        "        return True, z",
        f"    if worst > {SHRINKS!r} * last or iteration == {ITERATIONS}:",
        f"        small = _size(r) <= {ROUNDOFF!r} * _size(scale)",
        f"        if finite and (worst <= {STAGNATION!r} or small):",
        "            return True, z",
        f"    if iteration == {ITERATIONS} or not finite:",
        "        return False, z",
        "    _fill_matrix(t, h, z, u, theta, work, False)",
        f"    reach = {each(d, '_row_size(work[0], {i}, z)')}",
        "    x = _solved(r, work)",
        f"    z, last = {each(d, 'z[{i}] - x[{i}]')}, worst",
        "return False, z",
    ]
    implicit = [
        "def _implicit(t, h, base, start, y, u, theta, work):",
        "if not math.isfinite(_size(base)):",
        f"    return True, {'y' if estimates else lost}",
        "found, z = _newton(t, h, base, start, u, theta, work)",
        f"far = {FAR!r} * (_size(y) + _size(start) + _size(base))",
        "if not found or _size(z) > far:",
        "    found, z = _newton(t, h, base, y, u, theta, work)",
        "if found:",
        "    return True, z",
        "return True, _estimate(t, h, base, y, u, theta, work)"
        if estimates
        else f"return False, {lost}",
    ]
    estimate = [
        "def _estimate(t, h, base, y, u, theta, work):",
        "k = _f(t, y, u, theta, work)",
        f"r = {each(d, 'y[{i}] - base[{i}] - h * k[{i}]')}",
        "_fill_matrix(t, h, y, u, theta, work, False)",
        "x = _solved(r, work)",
        f"z = {each(d, 'y[{i}] - x[{i}]')}",
        f"return z if _size(z) <= {FAR!r} * (_size(y) + _size(base)) else y",
    ]
    size = ["def _size(y):", "largest = abs(y[0])"]
    size += [f"largest = _larger(largest, abs(y[{i}]))" for i in range(1, d)]
    size.append("return largest")
    parts = [block(lines) for lines in (size, fill, solved, turned, iterate, implicit)]
    parts += [block(estimate)] if estimates else []
    return "\n\n".join([ELIMINATION, *parts])


def both(step: list[str], back: list[str]) -> str:
    """Return the two functions of a scheme."""
    names = SIGNATURE.replace("guess", "lam, guess").replace("work", "dtheta, work")
    return "\n\n".join(
        [block([f"def _step({SIGNATURE}):", *step]), block([f"def _step_vjp({names}):", *back])]
    )


def block(lines: Sequence[str]) -> str:
    """Return the code of a function from its first line and those of its body."""
    return "\n    ".join(lines)


def each(count: int, pattern: str) -> str:
    """Return the tuple of a pattern for i = 0, 1, ..."""
    return as_tuple([pattern.replace("{i}", str(i)) for i in range(count)])


def _time(c: float) -> str:
    return "t0" if c == 0 else "t0 + dt" if c == 1 else f"t0 + {c!r} * dt"


def _times(factor: str, terms: Sequence[tuple[float, str]]) -> str:
    """Return ``factor * sum_i weight_i value_i``, terms of weight zero left out."""
    parts = [value if weight == 1 else f"{weight!r} * {value}" for weight, value in terms if weight]
    return f"{factor} * ({' + '.join(parts)})" if parts else "0.0"


def _stage(start: str, factor: str, weights: Sequence[float], slopes: str, d: int) -> str:
    """Return ``start + factor * sum_j weights_j slopes_j``."""
    each = []
    for i in range(d):
        move = _times(factor, [(w, f"{slopes}_{j}[{i}]") for j, w in enumerate(weights)])
        each.append(f"{start}[{i}] + {move}" if any(weights) else f"{start}[{i}]")
    return as_tuple(each)


def as_tuple(values: Sequence[str]) -> str:
    """Return the code of a tuple, which may have one entry or none."""
    return f"({', '.join(values)},)" if values else "()"
