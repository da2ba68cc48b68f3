"""Five kinds of layers of PyTorch, as a user would write them, and networks of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pint.torch import Network, network

WIDTH, CLASSES, FINAL_TIME = 32, 5, 2.0


class Two(nn.Module):
    """Two dense layers."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, y: Any) -> Any:
        """Return the rate of change."""
        return self.b(torch.tanh(self.a(y)))


class Normed(nn.Module):
    """A dense layer after layer normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.a = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, y: Any) -> Any:
        """Return the rate of change."""
        return torch.tanh(self.a(self.norm(y)))


class Attention(nn.Module):
    """Self-attention of four tokens of eight numbers each."""

    def __init__(self, width: int = WIDTH // 4, heads: int = 2) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, y: Any) -> Any:
        """Return the rate of change."""
        b, n, d = y.shape
        q, k, v = self.qkv(y).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(q, k, v)
        return self.out(found.transpose(1, 2).reshape(b, n, d))


class Leapfrog(nn.Module):
    """Its own step of positions and momenta."""

    def __init__(self, half: int = WIDTH // 2) -> None:
        super().__init__()
        self.k, self.b = nn.Parameter(torch.zeros(half, half)), nn.Parameter(torch.zeros(half))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Take small random weights."""
        nn.init.normal_(self.k, std=0.05)

    def forward(self, y: Any) -> Any:
        """Return the next state."""
        q, p = y.chunk(2, -1)
        p = p - 0.1 * torch.tanh(q @ self.k.T + self.b) @ self.k
        q = q + 0.1 * torch.tanh(p @ self.k + self.b) @ self.k.T
        return torch.cat([q, p], -1)


class Gated(nn.Module):
    """A gate that also sees an input in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.change = nn.Linear(WIDTH + 3, WIDTH), nn.Linear(WIDTH + 3, WIDTH)

    def forward(self, y: Any, x: Any) -> Any:
        """Return the rate of change."""
        both = torch.cat([y, x], -1)
        return torch.sigmoid(self.gate(both)) * (torch.tanh(self.change(both)) - y)


KINDS = {"two": Two, "norm": Normed, "attention": Attention, "leapfrog": Leapfrog, "gated": Gated}


def make(kind: str, examples: int, layers: int) -> tuple[Network, tuple[Any, ...], Any]:
    """Return a network in float64, the arguments of its module, and the labels."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (examples, 4, WIDTH // 4) if kind == "attention" else (examples, WIDTH)
    x, labels = torch.randn(shape, dtype=torch.float64), torch.arange(examples) % CLASSES
    given: dict[str, Any] = {"inputs": x}
    if kind == "gated":
        given["sequence"] = torch.randn(examples, layers, 3, dtype=torch.float64)
    made = network(
        KINDS[kind]().double(),
        head=nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, CLASSES)).double(),
        loss=functional.cross_entropy, labels=labels, layers=layers, final_time=FINAL_TIME,
        form="step" if kind == "leapfrog" else "rate", **given,
    )  # fmt: skip
    return made, tuple(given.values()), labels
