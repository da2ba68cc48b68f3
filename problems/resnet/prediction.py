"""What a network finds for examples."""

from __future__ import annotations

import numpy as np

import pint
from pint.errors import check_kind, integer
from problems.classification import logits
from problems.resnet.network import Network


def classify(
    network: Network, weights: pint.Control, x: np.ndarray, at_once: int = 1000
) -> np.ndarray:
    """Return the class that a network finds for each example of `x`, integers of shape (B,).

    Sequential propagation of `at_once` examples at a time, of which one layer is held in memory.
    Not collective.

    Parameters
    ----------
    network : Network
    weights : Control
        On a grid of one rank.
    x : ndarray, shape (B, ...)
    at_once : int
    """
    return _propagated("classify", network, weights, x, at_once).argmax(axis=1)


def probabilities(
    network: Network, weights: pint.Control, x: np.ndarray, at_once: int = 1000
) -> np.ndarray:
    """Return the probability of each class for each example of `x`, shape (B, classes).

    The softmax of ``W p(y_N) + mu``; each row has the sum 1, and its largest number is that of the
    class that `classify` finds. Parameters, memory and errors are those of `classify`. Not
    collective.
    """
    z = _propagated("probabilities", network, weights, x, at_once)
    exp_z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(exp_z / exp_z.sum(axis=1, keepdims=True))


def _propagated(
    owner: str, network: Network, weights: pint.Control, x: np.ndarray, at_once: int
) -> np.ndarray:
    """Return ``W p(y_N) + mu`` for each example, shape (B, classes); errors name `owner`."""
    check_kind(owner, "network", network, Network, "a Network")
    check_kind(owner, "weights", weights, pint.Control, "a pint.Control")
    check_kind(owner, "x", x, np.ndarray, "an array of numpy")
    if x.ndim < 1 or x.shape[1:] != network.example_shape:
        raise ValueError(
            f"`{owner}(x=...)` must have shape (B, {', '.join(map(str, network.example_shape))}),"
            f" got {x.shape}."
        )
    at_once = integer(owner, "at_once", at_once, 1)
    grid, theta, u = weights.space.grid, weights.shared, weights.time
    found = np.empty((len(x), network.classes))
    for begin in range(0, len(x), at_once):
        stepper = network.stepper(x[begin : begin + at_once])
        y = stepper.initial(theta)[None].copy()
        new = np.empty_like(y)
        for n in range(grid.steps):
            s = grid.batch(0, range(n, n + 1), y.ndim - 1)
            layer = {name: values[n : n + 1] for name, values in u.items()}
            stepper.step(s, y, layer, theta, out=new)
            y, new = new, y
        features = network.readout.features(y[0])
        found[begin : begin + at_once] = logits(features, theta).T
    return found
