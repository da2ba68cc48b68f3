"""The source of steps that mostly serve on coarse levels, and which step belongs to a stepper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pint.steppers.chebyshev import DAMPING, MOST_STAGES, REACH, RKC
from pint.steppers.compiled.scheme_code import (
    SIGNATURE,
    block,
    both,
    each,
    newton,
    runge_kutta,
    theta_scheme,
)
from pint.steppers.runge_kutta import RungeKutta, Tableau
from pint.steppers.sdirk import SDIRK
from pint.steppers.substeps import Substeps
from pint.steppers.theta import Coefficients, Theta


@dataclass(frozen=True)
class Implicit:
    """The step of a `Theta` or, by its gamma, of an `SDIRK`."""

    numbers: Coefficients | float
    estimates: bool


@dataclass(frozen=True)
class Stabilised:
    """The step of an `RKC`."""

    stages: int | None
    spectral_radius: float | None


@dataclass(frozen=True)
class Repeated:
    """Some steps of a scheme as one."""

    scheme: Scheme
    count: int


Scheme = Tableau | Implicit | Stabilised | Repeated


def scheme_of(stepper: Any) -> Scheme:
    """Return what describes the step of a ready-made stepper; ValueError if there is no code."""
    if isinstance(stepper, RungeKutta):
        return stepper.tableau
    if isinstance(stepper, Theta):
        return Implicit(stepper.coefficients, stepper.estimates)
    if isinstance(stepper, SDIRK):
        return Implicit(stepper.gamma, stepper.estimates)
    if isinstance(stepper, RKC):
        return Stabilised(stepper.stages, stepper.spectral_radius)
    if not isinstance(stepper, Substeps):
        raise ValueError(
            f"machine code has no steps of the scheme {stepper.scheme!r}: use it in numpy, or take "
            "another scheme."
        )
    return Repeated(scheme_of(stepper.stepper), stepper.count)


def step_code(scheme: Scheme, d: int, control_length: int) -> tuple[str, list[str]]:
    """Return ``_step`` and ``_step_vjp`` of a scheme, and the code of arrays that they need.

    The functions find the arrays at the end of ``work``.
    """
    if isinstance(scheme, Tableau):
        return runge_kutta(scheme, d, control_length), []
    if isinstance(scheme, Implicit):
        if isinstance(scheme.numbers, Coefficients):
            return theta_scheme(scheme.numbers, d, control_length, scheme.estimates), []
        return _two_solves(scheme.numbers, d, control_length, scheme.estimates), []
    if isinstance(scheme, Stabilised):
        points = max(scheme.stages or 0, MOST_STAGES) + 1
        tables = [f"numpy.empty((9, {points}))", f"numpy.empty(({points}, {d}))"]
        return _chebyshev(scheme, d, control_length), tables
    return _repeated(scheme, d, control_length)


def _two_solves(gamma: float, d: int, control_length: int, estimates: bool) -> str:
    """Return the functions of `SDIRK`."""
    beyond = (1.0 - gamma) / gamma
    kept = [each(d, f"kept[row, {{i}} + {k * d}]") for k in range(2)]
    solve = [
        f"start = {each(d, f'y[{{i}}] + {gamma!r} * (guess[{{i}}] - y[{{i}}])')}",
        "first, z = _implicit(t1, h, y, start, y, u, theta, work)",
        f"base = {each(d, f'y[{{i}}] + {beyond!r} * (z[{{i}}] - y[{{i}}])')}",
        "second, x = _implicit(t2, h, base, guess, y, u, theta, work)",
        "solved = first and second",
    ]
    times = [f"h, t1, t2 = {gamma!r} * dt, t0 + {gamma!r} * dt, t0 + dt"]
    step = [*times, *solve, "if keeps:"]
    step += [f"    kept[row, {i}], kept[row, {i + d}] = z[{i}], x[{i}]" for i in range(d)]
    step.append("return solved, x")
    back = [*times, "if keeps:", f"    solved, z, x = True, {kept[0]}, {kept[1]}", "else:"]
    back += [f"    {line}" for line in solve]
    back += [
        "_fill_matrix(t2, h, x, u, theta, work, True)",
        "last = _turned(lam, work)",
        "_fill_matrix(t1, h, z, u, theta, work, True)",
        f"mu = _turned({each(d, f'{beyond!r} * last[{{i}}]')}, work)",
        f"unused, of_u = _f_vjp(t2, x, u, theta, {each(d, 'h * last[{i}]')}, dtheta, work)",
        f"unused, more_u = _f_vjp(t1, z, u, theta, {each(d, 'h * mu[{i}]')}, dtheta, work)",
        f"of_u = {each(control_length, 'of_u[{i}] + more_u[{i}]')}",
        f"return solved, {each(d, f'{1.0 - beyond!r} * last[{{i}}] + mu[{{i}}]')}, of_u",
    ]
    return "\n\n".join([newton(d, estimates), both(step, back)])


COEFFICIENTS = f"""
def _coefficients(s, c):
    w0 = 1.0 + {DAMPING!r} / (s * s)
    c[:, :s + 1] = 0.0
    c[5, 0], c[5, 1], c[6, 1] = 1.0, w0, 1.0
    for j in range(2, s + 1):
        c[5, j] = 2.0 * w0 * c[5, j - 1] - c[5, j - 2]
        c[6, j] = 2.0 * c[5, j - 1] + 2.0 * w0 * c[6, j - 1] - c[6, j - 2]
        c[7, j] = 4.0 * c[6, j - 1] + 2.0 * w0 * c[7, j - 1] - c[7, j - 2]
        c[8, j] = c[7, j] / (c[6, j] * c[6, j])
    w1 = c[6, s] / c[7, s]
    c[8, 0] = c[8, 1] = c[8, 2]
    c[2, 1] = c[4, 1] = c[8, 1] * w1
    for j in range(2, s + 1):
        c[0, j], c[1, j] = 2.0 * w0 * c[8, j] / c[8, j - 1], -c[8, j] / c[8, j - 2]
        c[2, j] = 2.0 * w1 * c[8, j] / c[8, j - 1]
        c[3, j] = -(1.0 - c[8, j - 1] * c[5, j - 1]) * c[2, j]
        c[4, j] = c[0, j] * c[4, j - 1] + c[1, j] * c[4, j - 2] + c[2, j] + c[3, j]
"""
"""Rows of c: mu, nu, slope, origin, c of `Chebyshev`; the polynomials, two derivatives, b."""

NORMS = """
def _radius(t, y, u, theta, work):
    matrix, largest_row, largest_column = work[1], 0.0, 0.0
    matrix[:, :] = 0.0
    _f_jacobian(t, y, u, theta, matrix, work)
    for i in range(len(y)):
        row, column = 0.0, 0.0
        for j in range(len(y)):
            row += abs(matrix[i, j])
            column += abs(matrix[j, i])
        largest_row, largest_column = _larger(row, largest_row), _larger(column, largest_column)
    return _smaller(largest_row, largest_column)
"""


def _chebyshev(scheme: Stabilised, d: int, control_length: int) -> str:
    """Return the functions of `RKC`."""
    parts = [COEFFICIENTS]
    count = [f"s = {scheme.stages}"]
    if scheme.stages is None:
        if scheme.spectral_radius is None:
            parts.append(NORMS)
            radius = "_radius(t0, y, u, theta, work)"
        else:
            radius = repr(scheme.spectral_radius)
        most = float(MOST_STAGES)
        count = [
            f"needed = numpy.ceil(math.sqrt(1.0 + dt * {radius} / {REACH!r}))",
            # NaN is larger than nothing.
            f"s = {MOST_STAGES} if needed > {most} else int(needed) if needed > 2.0 else 2",
        ]
    new = (
        "(1.0 - c[0, j] - c[1, j]) * y[{i}] + c[0, j] * z[{i}] + c[1, j] * old[{i}]"
        " + c[2, j] * dt * k[{i}] + c[3, j] * dt * first[{i}]"
    )
    states = [
        "def _states(t0, dt, y, u, theta, work):",
        *count,
        "c, states = work[-2], work[-1]",
        "_coefficients(s, c)",
        "first = _f(t0, y, u, theta, work)",
        f"old, z = y, {each(d, 'y[{i}] + c[2, 1] * dt * first[{i}]')}",
        "_store(states, 0, old)",
        "_store(states, 1, z)",
        "for j in range(2, s + 1):",
        "    k = _f(t0 + c[4, j - 1] * dt, z, u, theta, work)",
        f"    old, z = z, {each(d, new)}",
        "    _store(states, j, z)",
        "return s",
    ]
    parts.append(block(states))
    step = ["s = _states(t0, dt, y, u, theta, work)", "return True, _load(work[-1], s)"]
    zeros = each(d, "0.0 * lam[{i}]")
    back = [
        "s = _states(t0, dt, y, u, theta, work)",
        "c, states = work[-2], work[-1]",
        f"here, before, of_start, of_first = lam, {zeros}, {zeros}, {zeros}",
        f"of_u = {each(control_length, '0.0')}",
        "for j in range(s, 1, -1):",
        f"    of_start = {each(d, 'of_start[{i}] + (1.0 - c[0, j] - c[1, j]) * here[{i}]')}",
        f"    of_first = {each(d, 'of_first[{i}] + c[3, j] * here[{i}]')}",
        f"    seed = {each(d, 'c[2, j] * dt * here[{i}]')}",
        "    z = _load(states, j - 1)",
        "    slope, v = _f_vjp(t0 + c[4, j - 1] * dt, z, u, theta, seed, dtheta, work)",
        f"    of_u = {each(control_length, 'of_u[{i}] + v[{i}]')}",
        f"    new = {each(d, 'before[{i}] + c[0, j] * here[{i}] + slope[{i}]')}",
        f"    here, before = new, {each(d, 'c[1, j] * here[{i}]')}",
        f"seed = {each(d, 'dt * (of_first[{i}] + c[2, 1] * here[{i}])')}",
        "slope, v = _f_vjp(t0, y, u, theta, seed, dtheta, work)",
        f"of_u = {each(control_length, 'of_u[{i}] + v[{i}]')}",
        f"return True, {each(d, 'of_start[{i}] + before[{i}] + here[{i}] + slope[{i}]')}, of_u",
    ]
    return "\n\n".join([*parts, both(step, back)])


def _repeated(scheme: Repeated, d: int, control_length: int) -> tuple[str, list[str]]:
    """Return the functions of `Substeps`, and the arrays that they need."""
    inner, arrays = step_code(scheme.scheme, d, control_length)
    inner = inner.replace("def _step", "def _part")
    count = scheme.count
    arguments = SIGNATURE.replace("t0, dt", "t0 + j * h, h").replace("guess", "y")
    arguments = arguments.replace("keeps", "False")
    backward = arguments.replace("h, y, u", "h, start, u").replace("theta, y", "theta, lam, y")
    step = [
        f"h, solved = dt / {count}, True",
        f"for j in range({count}):",
        f"    found, y = _part({arguments})",
        "    solved = solved and found",
        "return solved, y",
    ]
    back = [
        f"h, solved, states = dt / {count}, True, work[-1]",
        f"of_u = {each(control_length, '0.0')}",
        f"for j in range({count}):",
        "    _store(states, j, y)",
        f"    if j < {count - 1}:",
        f"        found, y = _part({arguments})",
        "        solved = solved and found",
        f"for j in range({count - 1}, -1, -1):",
        "    start = _load(states, j)",
        f"    found, lam, v = _part_vjp({backward.replace('work', 'dtheta, work')})",
        f"    of_u = {each(control_length, 'of_u[{i}] + v[{i}]')}",
        "    y = start",
        "return solved, lam, of_u",
    ]
    return "\n\n".join([inner, both(step, back)]), [*arrays, f"numpy.empty(({count}, {d}))"]
