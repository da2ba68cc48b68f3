"""The layers of a residual network as time steps, and its opening layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pint
from pint.interface import Fields
from problems.activations import Activation


class AffineMap(ABC):
    """The argument of a layer's activation, ``K y + b``, and its transposes, for S layers at once.

    K and b are the control's ``weight`` and ``bias``, with a leading axis of length S as y has it.
    """

    @abstractmethod
    def apply(self, y: Any, u: Fields, out: Any = None) -> Any:
        """Return ``K y + b``, written to `out` if that is given."""

    @abstractmethod
    def gather(self, slope: Any) -> Any:
        """Return `slope`, shaped as ``K y``, in the form that the transposes take.

        Valid until the next call of `apply` or `gather`.
        """

    @abstractmethod
    def transposed(self, out: Any, u: Fields, gathered: Any, lam: Any) -> None:
        """Write ``lam + K^T slope`` to `out`, in place."""

    @abstractmethod
    def derivative(self, y: Any, u: Fields, gathered: Any) -> Fields:
        """Return the derivatives of ``slope . (K y + b)`` with respect to K and b."""


class DenseMap(AffineMap):
    """Matrices K, shape (S, width, features), and biases, (S, width) or (S, 1)."""

    def apply(self, y: Any, u: Fields, out: Any = None) -> Any:
        z = np.matmul(u["weight"], y, out=out)
        z += u["bias"][..., None]
        return z

    def gather(self, slope: Any) -> Any:
        return slope

    def transposed(self, out: Any, u: Fields, gathered: Any, lam: Any) -> None:
        np.matmul(u["weight"].swapaxes(-1, -2), gathered, out=out)
        out += lam

    def derivative(self, y: Any, u: Fields, gathered: Any) -> Fields:
        sums = gathered.sum(axis=-1)
        return {
            "weight": np.matmul(gathered, y.swapaxes(-1, -2)),
            "bias": sums if u["bias"].shape == sums.shape else sums.sum(axis=-1, keepdims=True),
        }


class Opening(ABC):
    """How the examples become y_0.

    Attributes
    ----------
    x : ndarray, shape (..., B)
        The examples.
    """

    x: np.ndarray

    @abstractmethod
    def initial(self, theta: Fields) -> np.ndarray:
        """Return y_0."""

    def derivative(self, theta: Fields, lam0: np.ndarray) -> Fields:
        """Return ``(dy_0/dtheta)^T lam0`` by field name; by default nothing is trained."""
        return {}


@dataclass(frozen=True)
class TrainedOpening(Opening):
    """``y_0 = sigma(W_in x + b_in)``, `affine` being that of W_in and b_in."""

    x: np.ndarray
    affine: AffineMap
    activation: Activation

    @staticmethod
    def _batch(theta: Fields) -> Fields:
        return {name: theta[f"opening_{name}"][None] for name in ("weight", "bias")}

    def _argument(self, theta: Fields) -> np.ndarray:
        return self.affine.apply(self.x[None], self._batch(theta))[0]

    def initial(self, theta: Fields) -> np.ndarray:
        return self.activation.value(self._argument(theta))

    def derivative(self, theta: Fields, lam0: np.ndarray) -> Fields:
        slope = self.activation.derivative(self._argument(theta)) * lam0
        gathered = self.affine.gather(slope[None])
        batch = self.affine.derivative(self.x[None], self._batch(theta), gathered)
        return {f"opening_{name}": values[0] for name, values in batch.items()}


@dataclass(frozen=True)
class PaddedOpening(Opening):
    """``y_0 = x``, the features followed by zeros; nothing is trained."""

    x: np.ndarray

    def initial(self, theta: Fields) -> np.ndarray:
        return self.x


class ResidualLayers(pint.TimeStepper):
    """Forward Euler steps ``y + dt sigma(K y + b)`` for a batch of examples.

    Parameters
    ----------
    space : ArraySpace
        Of the states.
    affine : AffineMap
        Of the layers.
    opening : Opening
    activation : Activation
    coarse : sequence of AffineMap
        Of the layers of coarse levels, from level 1 on; the last one serves all coarser levels. By
        default they are those of level 0.
    """

    batched = in_place = True

    def __init__(
        self,
        space: pint.ArraySpace,
        affine: AffineMap,
        opening: Opening,
        activation: Activation,
        coarse: Sequence[AffineMap] = (),
    ) -> None:
        self.affine = affine
        self.opening = opening
        self.activation = activation
        self.kept_shape = space.shape
        self._space, self._coarse = space, tuple(coarse)

    def coarsen(self, level: int) -> ResidualLayers:
        some = self._coarse[:level]
        return (
            ResidualLayers(self._space, some[-1], self.opening, self.activation) if some else self
        )

    @property
    def space(self) -> pint.ArraySpace:
        return self._space

    def initial(self, theta: Fields) -> np.ndarray:
        return self.opening.initial(theta)

    def step(self, s: pint.Steps, y: Any, u: Fields, theta: Fields, out: Any = None) -> Any:
        if out is None:
            out = np.empty(np.shape(y), np.result_type(y, *u.values()))
        if s.kept is None:
            np.multiply(self.activation.value(self.affine.apply(y, u, out)), s.dt, out=out)
        else:
            self.activation.both(self.affine.apply(y, u, s.kept), s.dt, out)
        out += y
        return out


class ResidualLayersAdjoint(pint.Adjoint):
    """Transposes of `ResidualLayers`; dt sigma'(K y + b) is kept by the step or computed again."""

    in_place = leaves_out = True

    def __init__(self, stepper: ResidualLayers) -> None:
        self._stepper = stepper
        self.affine = stepper.affine
        self.opening = stepper.opening
        self.activation = stepper.activation

    def _gathered(self, s: pint.Steps, y: Any, u: Fields, lam: Any) -> Any:
        """Return ``dt sigma'(K y + b) lam``, entry by entry, as the map takes it."""
        if s.kept is not None:
            return self.affine.gather(s.kept * lam)
        slope = self.activation.derivative(self.affine.apply(y, u))
        slope *= lam
        slope *= s.dt
        return self.affine.gather(slope)

    def _transposed(self, y: Any, u: Fields, gathered: Any, lam: Any, out: Any) -> Any:
        if out is None:
            out = np.empty(np.shape(lam), np.result_type(y, lam, *u.values()))
        self.affine.transposed(out, u, gathered, lam)
        return out

    def vjp(
        self, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any, out: Any = None
    ) -> tuple[Any, Fields, Fields]:
        gathered = self._gathered(s, y, u, lam)
        dy = None if out is False else self._transposed(y, u, gathered, lam, out)
        return dy, self.affine.derivative(y, u, gathered), {}

    def step(
        self, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any, out: Any = None
    ) -> Any:
        return self._transposed(y, u, self._gathered(s, y, u, lam), lam, out)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.opening.derivative(theta, lam0)

    def coarsen(self, level: int) -> ResidualLayersAdjoint:
        stepper = self._stepper.coarsen(level)
        return self if stepper is self._stepper else ResidualLayersAdjoint(stepper)
