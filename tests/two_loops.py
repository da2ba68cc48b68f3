"""The two-loop recursion, written down from a textbook, and pairs to try it on."""

import numpy as np

import pint


def random_controls(space, count, seed, spectrum=0.0):
    """Return steps, changes by a matrix with eigenvalues from 1 to 10^spectrum, and a gradient.

    The numbers of shared fields are the same on all ranks.
    """
    random = np.random.default_rng(seed)

    def control():
        values = {
            name: random.standard_normal((space.grid.steps, *field.shape))
            for name, field in space.time_fields.items()
        }
        for name, field in space.shared_fields.items():
            values[name] = random.standard_normal(field.shape)
        return space.control(**values)

    matrix = 10.0 ** (spectrum * abs(np.sin(control().vector)))
    steps = [control() for _ in range(count)]
    return steps, [pint.Control(space, matrix * s.vector) for s in steps], control()


def updated(hessian, steps, changes):
    for s, y in zip(steps, changes, strict=True):
        hessian = hessian.updated(s, y)
    return hessian


def two_loops(steps, changes, scaling, gradient):
    """Return H times a gradient by 2 x 2 inner products for each pair. Collective."""
    inner, q, factors = gradient.space.inner, gradient, []
    for s, y in zip(reversed(steps), reversed(changes), strict=True):
        factors.append(inner(s, q) / inner(s, y))
        q = q - factors[-1] * y
    q = scaling * q
    for s, y, factor in zip(steps, changes, reversed(factors), strict=True):
        q = q + (factor - inner(y, q) / inner(s, y)) * s
    return q


def scaling_of(s, y):
    return s.space.inner(s, y) / s.space.inner(y, y)


def masked(controls, free):
    return [pint.Control(c.space, np.where(free, c.vector, 0.0)) for c in controls]
