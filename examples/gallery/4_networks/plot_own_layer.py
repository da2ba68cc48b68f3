"""
A layer of one's own in PyTorch
===============================

Two dense layers with a normalisation in each block; 16 blocks, all weights their own. The gradient is
that of automatic differentiation, and the result is an ordinary module.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

import pint
from pint.torch import network


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.a, self.b = (
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.Linear(width, width),
        )

    def forward(self, y):
        return self.b(torch.tanh(self.a(self.norm(y))))


torch.manual_seed(0)
angle = torch.rand(300, dtype=torch.float64) * 12
side = torch.arange(300) % 2
radius = (angle / 12)[:, None] * (1 - 2 * side)[:, None]
x = radius * torch.stack([angle.cos(), angle.sin()], 1)
deep = network(
    Block(6).double(), opening=nn.Linear(2, 6).double(), head=nn.Linear(6, 2).double(),
    loss=nn.functional.cross_entropy, inputs=x, labels=side, layers=16, final_time=4.0,
)  # fmt: skip
functional = pint.ReducedFunctional(deep, deep.grid(coarsening=4, levels=2))
start = deep.start(functional.controls, seed=1)
result = pint.minimize(functional, start, pint.Lagged(iterations=200))
module = deep.module(result.control)
accuracy = (module(x).argmax(1) == side).double().mean().item()
print(f"loss {result.objective:.4f}, accuracy {accuracy:.3f}")

mesh = torch.cartesian_prod(*[torch.linspace(-1.1, 1.1, 120, dtype=torch.float64)] * 2)
with torch.no_grad():
    found = module(mesh).softmax(1)[:, 1].reshape(120, 120).T
figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
axes.imshow(found, origin="lower", extent=(-1.1, 1.1, -1.1, 1.1), cmap="coolwarm", alpha=0.5)
axes.scatter(*x.T, c=side, cmap="coolwarm", s=12)
plt.show()
