"""Layers that users bring, each as a network of a few examples."""

import torch
from tensor_space import DEVICE
from torch import nn
from torch.nn import functional

from pint.torch import network


class Two(nn.Module):
    def __init__(self, d=8):
        super().__init__()
        self.a, self.b = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, y):
        return self.b(torch.tanh(self.a(y)))


class Normed(nn.Module):
    def __init__(self, d=8):
        super().__init__()
        self.norm, self.a = nn.LayerNorm(d), nn.Linear(d, d)

    def forward(self, y):
        return torch.tanh(self.a(self.norm(y)))


class Attention(nn.Module):
    def __init__(self, d=8, heads=2):
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads

    def forward(self, y):
        b, n, d = y.shape
        q, k, v = self.qkv(y).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(q, k, v)
        return self.out(found.transpose(1, 2).reshape(b, n, d))


class Leapfrog(nn.Module):
    """Its own step, of size 1/4."""

    def __init__(self, d=4):
        super().__init__()
        self.k, self.b = nn.Parameter(0.3 * torch.randn(d, d)), nn.Parameter(torch.zeros(d))

    def forward(self, y):
        q, p = y.chunk(2, -1)
        p = p - 0.25 * torch.tanh(q @ self.k.T + self.b) @ self.k
        q = q + 0.25 * torch.tanh(p @ self.k + self.b) @ self.k.T
        return torch.cat([q, p], -1)


class Gated(nn.Module):
    """It is given an input in each step, and has a parameter without an axis."""

    def __init__(self, d=8):
        super().__init__()
        self.gate, self.change = nn.Linear(d + 3, d), nn.Linear(d + 3, d)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, y, x):
        both = torch.cat([y, x], -1)
        return self.scale * torch.sigmoid(self.gate(both)) * (torch.tanh(self.change(both)) - y)


KINDS = {
    "two": Two, "normed": Normed, "attention": Attention, "leapfrog": Leapfrog, "gated": Gated,
}  # fmt: skip


def made(kind, dtype=torch.float64, examples=12, layers=16, **options):
    """Return a network with a linear opening and head, and its data.

    `kind` is a name, a module, or pairs of a name and a number of layers; `dtype` is that of
    modules and data; the option `states` is the type of states that are tensors, on `DEVICE`.
    """
    torch.manual_seed(1)
    torch.set_num_threads(1)
    shape = (examples, 5, 6) if kind == "attention" else (examples, 6)
    data = {"inputs": torch.randn(shape, dtype=dtype), "labels": torch.arange(examples) % 3}
    head = nn.Linear(8, 3)
    if kind == "attention":
        head = nn.Sequential(nn.Flatten(), nn.Linear(40, 3))
    if "states" in options:
        options["dtype"] = options.pop("states")
        options.setdefault("device", DEVICE)
    if kind == "gated":
        data["sequence"] = torch.randn(examples, layers, 3, dtype=dtype)
    form = "step" if kind == "leapfrog" else "rate"
    if isinstance(kind, list):
        block = [(KINDS[name]().to(dtype), count) for name, count in kind]
    else:
        block = (kind if callable(kind) else KINDS[kind])().to(dtype)
    one = network(
        block, opening=nn.Linear(6, 8).to(dtype), head=head.to(dtype),
        loss=functional.cross_entropy, layers=layers, final_time=2.0, form=form, **data, **options,
    )  # fmt: skip
    return one, data


def gradients(module, data):
    """Return the loss, and the gradient of each weight, of an ordinary module."""
    module.zero_grad()
    value = functional.cross_entropy(
        module(*[data[k] for k in data if k != "labels"]), data["labels"]
    )
    value.backward()
    found = {
        f"block.{name}": torch.stack(
            [dict(b.named_parameters())[name].grad for b in module.blocks]
        ).numpy()
        for name, _ in module.blocks[0].named_parameters()
    }
    for end in ("opening", "head"):
        for name, one in getattr(module, end).named_parameters():
            found[f"{end}.{name}"] = one.grad.numpy()
    return value.item(), found
