"""Layers of PyTorch for classification: dense, convolutional, attention; needs PyTorch.

Each maker returns opening, block and head for examples of a shape, for `pint.torch.network`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

DROPPED = 0.3
"""Share of a last state's numbers that the classification of images does without in training."""

Parts = tuple[nn.Module, nn.Module, nn.Module]


class Dense(nn.Module):
    """``W2 tanh(W1 y + b1) + b2``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, y: Any) -> Any:
        """Return the rate of change of states, shape (B, width)."""
        return self.second(torch.tanh(self.first(y)))


class Convolutional(nn.Module):
    """Two 3 x 3 convolutions with ReLU between them, after normalisation of each image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, y: Any) -> Any:
        """Return the rate of change of images, shape (B, channels, height, width)."""
        return self.second(torch.relu(self.first(self.norm(y))))


class Attention(nn.Module):
    """Self-attention of the tokens and a dense layer, side by side, after layer normalisation."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, y: Any) -> Any:
        """Return the rate of change of tokens, shape (B, tokens, width)."""
        z = self.norm(y)
        examples, tokens, width = y.shape
        q, k, v = self.qkv(z).reshape(examples, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(q, k, v)
        mixed = found.transpose(1, 2).reshape(examples, tokens, width)
        return self.out(mixed) + self.dense(z)


class Tokens(nn.Module):
    """The rows of an image as tokens, each with a place of its own."""

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        channels, rows, columns = shape
        self.map = nn.Linear(channels * columns, width)
        self.place = nn.Parameter(torch.zeros(rows, width))

    def forward(self, x: Any) -> Any:
        """Return the tokens of images, shape (B, rows, width)."""
        return self.map(x.transpose(1, 2).flatten(2)) + self.place


def dense(shape: tuple[int, ...], classes: int, width: int) -> Parts:
    """Return a network of dense layers, of examples of any shape."""
    features = int(torch.Size(shape).numel())
    opening = nn.Sequential(nn.Flatten(), nn.Linear(features, width), nn.Tanh())
    return opening, Dense(width), nn.Linear(width, classes)


def convolutional(shape: tuple[int, ...], classes: int, width: int) -> Parts:
    """Return a network of convolutions with `width` channels, of images."""
    channels, rows, columns = _image(shape)
    head = nn.Sequential(
        nn.Flatten(), nn.Dropout(DROPPED), nn.Linear(width * rows * columns, classes)
    )
    return nn.Conv2d(channels, width, 3, padding=1), Convolutional(width), head


def attention(shape: tuple[int, ...], classes: int, width: int) -> Parts:
    """Return a network of attention between the rows of images."""
    rows = _image(shape)[1]
    if width % 2:
        raise ValueError(f"attention has two heads: the width must be even, got {width}")
    head = nn.Sequential(
        nn.LayerNorm(width), nn.Flatten(), nn.Dropout(DROPPED), nn.Linear(rows * width, classes)
    )
    return Tokens(shape, width), Attention(width), head


MAKERS: Mapping[str, Callable[[tuple[int, ...], int, int], Parts]] = {
    "attention": attention,
    "convolutional": convolutional,
    "dense": dense,
}
"""The makers by name: they take the shape of an example, the number of classes, and the width."""


def _image(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 3:
        raise ValueError(f"needs images (channels, rows, columns), the examples have {shape}")
    return shape
