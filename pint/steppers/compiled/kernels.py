"""The loops over steps, for any scheme, right-hand side and cost.

The text of this module becomes the end of a module of generated functions, which it calls by the
names with an underscore; together they are compiled. It is never imported.

Many chains of consecutive steps are made in one call. Step j of chain c is number
``i = c * stride + j`` in all arrays that have a row for each step; `start` has a row for each
chain, ``start_stride`` rows apart. One chain is a march, chains of one step are independent steps,
and chains of m - 1 steps with stride m a relaxation. Arrays of length zero stand for nothing: no
right-hand side, no guess, nothing kept, a right-hand side that does not depend on time. `dt` has
one entry where all steps have the same size.
"""
# ruff: noqa: F821, D103
# mypy: ignore-errors


# Loops


def advance(t0, dt, start, u, theta, out, rhs, guess, kept, chains, length, stride, start_stride):
    work = _workspace()
    failed, first = 0, -1
    timed, sized, whole = len(t0) > 0, len(dt) > 1, len(out) > 1
    forced, guessed, keeps = len(rhs) > 0, len(guess) > 0, len(kept) > 0
    for chain in range(chains):
        y = _load(start, chain * start_stride)
        for i in range(chain * stride, chain * stride + length):
            t, h = t0[i] if timed else 0.0, dt[i] if sized else dt[0]
            near = _load(guess, i) if guessed else y
            solved, y = _step(t, h, y, _control(u, i), theta, near, kept, i, keeps, work)
            if not solved:
                first = i if failed == 0 else first
                failed += 1
            if forced:
                y = _sum(y, _load(rhs, i))
            _store(out, i if whole else 0, y)
    return failed, first


def transpose(
    t0, dt, states, start, u, theta, out, rhs, guess, kept, du, dtheta, adds,
    chains, length, stride, start_stride,
):  # fmt: skip
    work = _workspace()
    failed, first = 0, -1
    timed, sized, whole = len(t0) > 0, len(dt) > 1, len(out) > 1
    forced, guessed, keeps = len(rhs) > 0, len(guess) > 0, len(kept) > 0
    for chain in range(chains):
        lam = _load(start, chain * start_stride)
        for i in range(chain * stride + length - 1, chain * stride - 1, -1):
            t, h = t0[i] if timed else 0.0, dt[i] if sized else dt[0]
            y = _load(states, i)
            near = _load(guess, i) if guessed else y
            solved, lam, v = _step_vjp(
                t, h, y, _control(u, i), theta, lam, near, kept, i, keeps, dtheta, work
            )
            if not solved:
                first = i if failed == 0 else first
                failed += 1
            if adds:
                _add_control(du, i, v)
            if forced:
                lam = _sum(lam, _load(rhs, i))
            _store(out, i if whole else 0, lam)
    return failed, first


def costs(t0, dt, y0, y1, u, theta, left, middle, right, values):
    work = _workspace()
    timed, sized = len(t0) > 0, len(dt) > 1
    for i in range(len(values)):
        t, h = t0[i] if timed else 0.0, dt[i] if sized else dt[0]
        v, total = _control(u, i), 0.0
        if left != 0.0:
            total += left * h * _running(t, _load(y0, i), v, theta, work)
        if middle != 0.0:
            state = _half(_load(y0, i), _load(y1, i))
            total += middle * h * _running(t + 0.5 * h, state, v, theta, work)
        if right != 0.0:
            total += right * h * _running(t + h, _load(y1, i), v, theta, work)
        values[i] = total


def cost_slopes(
    t0, dt, y0, y1, u, theta, left, middle, right, scale, of_y0, of_y1, du, dtheta, count
):
    work = _workspace()
    timed, sized = len(t0) > 0, len(dt) > 1
    for i in range(count):
        t, h = t0[i] if timed else 0.0, dt[i] if sized else dt[0]
        v = _control(u, i)
        if left != 0.0:
            of_y, of_u = _running_gradient(
                t, _load(y0, i), v, theta, scale * left * h, dtheta, work
            )
            _increase(of_y0, i, of_y)
            _add_control(du, i, of_u)
        if middle != 0.0:
            state = _half(_load(y0, i), _load(y1, i))
            of_y, of_u = _running_gradient(
                t + 0.5 * h, state, v, theta, scale * middle * h, dtheta, work
            )
            half = _scaled(0.5, of_y)
            _increase(of_y0, i, half)
            _increase(of_y1, i, half)
            _add_control(du, i, of_u)
        if right != 0.0:
            of_y, of_u = _running_gradient(
                t + h, _load(y1, i), v, theta, scale * right * h, dtheta, work
            )
            _increase(of_y1, i, of_y)
            _add_control(du, i, of_u)
