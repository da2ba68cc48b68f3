"""Trained networks in files: the weights, FILE.npz, and what they are the weights of, FILE.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pint
from pint.files import write_atomically
from problems.convolution import ConvolutionalNetwork
from problems.resnet import DenseNetwork, Network, classify

KINDS: dict[str, Any] = {"dense": DenseNetwork, "convolutional": ConvolutionalNetwork}


@dataclass(frozen=True)
class SavedNetwork:
    """A network, its depth and final time, its weights, and the names of its classes."""

    network: Network
    final_time: float
    weights: pint.Control
    classes: tuple[str, ...]

    def classify(self, x: np.ndarray) -> np.ndarray:
        """Return the class of each example, integers of shape (B,)."""
        return classify(self.network, self.weights, x)


def description_of(path: str) -> Path:
    """Return the path of the description that belongs to a file of weights."""
    return Path(path).with_suffix(".json")


def describe(path: str, network: Network, grid: pint.TimeGrid, classes: tuple[str, ...]) -> None:
    """Write what the weights in the file `path` belong to, beside it. Not collective."""
    kind = next(name for name, made in KINDS.items() if type(network) is made)
    content = {
        "network": kind,
        **asdict(network),
        "layers": grid.steps,
        "final_time": float(grid.t[-1]),
        "class_names": list(classes),
    }
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(description_of(path), lambda file: file.write(text.encode()))


def load(path: str) -> SavedNetwork:
    """Return the network of a file of weights. Not collective.

    Raises
    ------
    ValueError
        In one line: what is missing or does not fit.
    """
    described = description_of(path)
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
        kind = KINDS[content.pop("network")]
        layers, final_time = content.pop("layers"), content.pop("final_time")
        classes = tuple(content.pop("class_names"))
        if "image" in content:
            content["image"] = tuple(content["image"])
        network = kind(**content)
        controls = network.controls(pint.TimeGrid.uniform(final_time, layers))
    except OSError as error:
        raise ValueError(f"cannot read {str(described)!r}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(described)!r} does not describe a network ({error})") from None
    try:
        weights = controls.load(path)
    except OSError as error:
        raise ValueError(f"cannot read {path!r}: {error.strerror or error}") from None
    return SavedNetwork(network, final_time, weights, classes)
