"""Directions of stochastic updates: momentum and Adam."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from pint.controls import Control
from pint.errors import is_number, number, shown


@dataclass(frozen=True)
class Moments:
    """The gradients so far, as a rule needs them.

    Attributes
    ----------
    first, second : ndarray
        Sums of gradients, and of their squares entry by entry, this rank's part.
    updates : int
        Number of gradients.
    """

    first: np.ndarray
    second: np.ndarray
    updates: int = 0

    @classmethod
    def zero(cls, control: Control) -> Moments:
        """Return the moments before the first gradient with respect to `control`."""
        return cls(np.zeros(control.space.size), np.zeros(control.space.size))


class Rule(ABC):
    """How the direction of an update follows from the gradients; build one with `sgd`, `adam`."""

    @abstractmethod
    def direction(
        self, control: Control, gradient: Control, moments: Moments
    ) -> tuple[Control, Moments]:
        """Return the direction of the update, to be subtracted, and the new moments.

        Not collective, except on controls of a coarser time mesh.
        """


@dataclass(frozen=True)
class Momentum(Rule):
    """``v <- momentum v + g + weight_decay c``, direction v [1]_, as ``torch.optim.SGD`` has it.

    Attributes
    ----------
    momentum : float
        At least 0, below 1; 0 is plain gradient descent.
    weight_decay : float
        The gradient of ``weight_decay / 2 |c|^2`` in the metric, for all fields.

    References
    ----------
    .. [1] Polyak, USSR Comput. Math. Math. Phys. 4 (1964), 1-17, doi:10.1016/0041-5553(64)90137-5.
    """

    momentum: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check_below_one("sgd", "momentum", self.momentum)
        number("sgd", "weight_decay", self.weight_decay)

    def direction(
        self, control: Control, gradient: Control, moments: Moments
    ) -> tuple[Control, Moments]:
        first = self.momentum * moments.first + gradient.vector
        if self.weight_decay:
            first += self.weight_decay * control.vector
        return Control(gradient.space, first), Moments(first, moments.second, moments.updates + 1)


@dataclass(frozen=True)
class Adam(Rule):
    """``m <- beta1 m + (1 - beta1) g``, ``v <- beta2 v + (1 - beta2) g^2``, entry by entry [1]_.

    Direction of update k is ``m / (1 - beta1^k) / (sqrt(v / (1 - beta2^k)) + eps)``, projected to
    the subspace of controls on a coarser time mesh. With `weight_decay`, times the control, added
    it is AdamW [2]_: the decay is not part of the moments.

    Attributes
    ----------
    beta1, beta2 : float
        At least 0, below 1.
    eps : float
        Positive, in the unit of the gradient.
    weight_decay : float
        Decoupled, for all fields.

    References
    ----------
    .. [1] Kingma & Ba, ICLR 2015, arXiv:1412.6980, Algorithm 1.
    .. [2] Loshchilov & Hutter, ICLR 2019, arXiv:1711.05101, Algorithm 2.
    """

    beta1: float
    beta2: float
    eps: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check_below_one("adam", "beta1", self.beta1)
        _check_below_one("adam", "beta2", self.beta2)
        number("adam", "eps", self.eps, positive=True)
        number("adam", "weight_decay", self.weight_decay)

    def direction(
        self, control: Control, gradient: Control, moments: Moments
    ) -> tuple[Control, Moments]:
        g, space, k = gradient.vector, gradient.space, moments.updates + 1
        first = self.beta1 * moments.first + (1 - self.beta1) * g
        second = self.beta2 * moments.second + (1 - self.beta2) * g**2
        deviation = np.sqrt(second / (1 - self.beta2**k))
        direction = Control(space, first / (1 - self.beta1**k) / (deviation + self.eps))
        # Divided entry by entry, a direction is no longer one of the coarser mesh.
        for name, mesh in space.meshes.items():
            direction[name][...] = mesh.project(direction[name])
        if self.weight_decay:
            direction = direction + self.weight_decay * control
        return direction, Moments(first, second, k)


def _check_below_one(rule: str, name: str, value: float) -> None:
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(
            f"`{rule}({name}=...)` must be at least 0 and below 1, got {shown(value)}."
        )


def sgd(momentum: float = 0.9, weight_decay: float = 0.0) -> Rule:
    """Return stochastic gradient descent with momentum, as ``torch.optim.SGD``.

    `weight_decay` adds so many times the control to the gradient.
    """
    return Momentum(momentum, weight_decay)


def adam(
    beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
) -> Rule:
    """Return Adam, as ``torch.optim.Adam``; with a `weight_decay` AdamW, ``torch.optim.AdamW``."""
    return Adam(beta1, beta2, eps, weight_decay)
