"""Trained networks in files: FILE.npz holds the weights, FILE.json describes their network."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from arguments import description_of

import pint
from pint.controls.saved import check_fields
from pint.report.archives import open_archive
from pint.report.files import write_atomically
from pint.report.reading import read_json
from problems.convolution import ConvolutionalNetwork
from problems.data import Dataset, Normalisation
from problems.resnet import DenseNetwork, Network, classify, probabilities

KINDS: dict[str, Any] = {"dense": DenseNetwork, "convolutional": ConvolutionalNetwork}


@dataclass(frozen=True)
class SavedNetwork:
    """A network with its weights, and what it has been trained with.

    Attributes
    ----------
    network : Network
    weights : Control
    classes : tuple of str
        Their names.
    normalisation : Normalisation or None
        Of the examples.
    inputs : (float, float)
        Smallest and largest number that the network has been trained with.
    """

    network: Network
    weights: pint.Control
    classes: tuple[str, ...]
    normalisation: Normalisation | None
    inputs: tuple[float, float]

    def normalised(self, x: np.ndarray) -> np.ndarray:
        """Return examples as the network takes them."""
        return x if self.normalisation is None else self.normalisation(x)

    def classify(self, x: np.ndarray) -> np.ndarray:
        """Return the class of each normalised example, integers of shape (B,)."""
        return classify(self.network, self.weights, x)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Return the probability of each class for normalised examples, shape (B, classes)."""
        return probabilities(self.network, self.weights, x)


def describe(path: str, network: Network, grid: pint.TimeGrid, data: Dataset) -> None:
    """Write what the weights in the file `path` belong to, beside it. Not collective."""
    by = data.normalisation
    kind = next(name for name, made in KINDS.items() if type(network) is made)
    content = {
        "network": kind,
        **asdict(network),
        "layers": grid.steps,
        "final_time": float(grid.t[-1]),
        "class_names": list(data.classes),
        "normalisation": by and {"mean": by.mean.tolist(), "factor": by.factor.tolist()},
        "inputs": [float(data.x.min()), float(data.x.max())],
    }
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(description_of(path), lambda file: file.write(text.encode()))


def require_like(path: str, network: Network, final_time: float) -> int | None:
    """Return the layers that a file of weights describes, None if it has no description.

    Not collective.

    Raises
    ------
    ValueError
        If the weights belong to another network: the first property that differs.
    """
    described = Path(path).with_suffix(".json")
    if not described.is_file():
        return None
    content = read_json(described)
    if not isinstance(content, dict) or not isinstance(content.get("layers"), int):
        raise ValueError(f"{str(described)!r} does not describe a network")
    kind = next(name for name, made in KINDS.items() if type(network) is made)
    expected = {"network": kind, **asdict(network), "final_time": final_time}
    for name, value in json.loads(json.dumps(expected)).items():
        if content.get(name) != value:
            raise ValueError(
                f"the weights in {path!r} belong to a network with {name} {content.get(name)!r}, "
                f"not {value!r}"
            )
    return int(content["layers"])


def load(path: str) -> SavedNetwork:
    """Return the network of a file of weights. Not collective.

    Raises
    ------
    ValueError
        In one line: what is missing or does not fit.
    """
    described = description_of(path)
    try:
        content = read_json(described)
        kind = KINDS[content.pop("network")]
        layers, final_time = content.pop("layers"), content.pop("final_time")
        if not isinstance(layers, int) or layers < 1:
            raise ValueError(f"`layers` is {layers!r}")
        classes = _class_names(content.pop("class_names"))
        by, inputs = content.pop("normalisation"), content.pop("inputs")
        least, most = map(float, inputs)
        if not np.isfinite([least, most]).all():
            raise ValueError("`inputs` are not finite")
        if "image" in content:
            content["image"] = tuple(content["image"])
        network = kind(**content)
        if len(classes) != network.classes:
            raise ValueError(f"{len(classes)} names for {network.classes} classes")
        normalisation = None if by is None else _normalisation(by, network.example_shape)
        _check_weights(path, network, layers)
        controls = network.controls(pint.TimeGrid.uniform(final_time, layers))
    except OSError as error:
        raise ValueError(f"cannot read {error.filename!r}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{str(described)!r} does not describe a network ({error})") from None
    return SavedNetwork(network, controls.load(path), classes, normalisation, (least, most))


def _check_weights(path: str, network: Network, layers: int) -> None:
    """Raise ValueError unless a file has the weights of a network, before memory is taken."""
    shapes = {
        name: ((layers,) if isinstance(field, pint.TimeControl) else ()) + field.shape
        for name, field in network.fields().items()
    }
    with open_archive(path) as archive:
        try:
            check_fields(archive.declared, shapes)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _class_names(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError("`class_names` is no list of names")
    if not all(name.isprintable() for name in found):
        raise ValueError("a name of a class cannot be printed")
    if len(set(found)) < len(found):
        raise ValueError("two classes have the same name")
    return tuple(found)


def _normalisation(by: dict[str, Any], shape: tuple[int, ...]) -> Normalisation:
    mean, factor = (np.array(by[part], float) for part in ("mean", "factor"))
    if not (np.isfinite(mean).all() and np.isfinite(factor).all()):
        raise ValueError("`normalisation` is not finite")
    np.broadcast_to(mean, shape), np.broadcast_to(factor, shape)
    return Normalisation(mean, factor)
