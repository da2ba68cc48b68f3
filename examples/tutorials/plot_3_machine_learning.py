r"""
For machine-learning researchers: your own layer
================================================

A very deep network of one kind of block, trained layer-parallel. You write the block as a module of PyTorch;
its weights differ from layer to layer, and the layers are the time steps of an ODE.
"""

# %%
# The block
# ---------
# Layer n is :math:`y + \Delta t\,\mathrm{block}(y; w_n)`. This one has a gate.

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import pint
from pint.torch import network


class Gated(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.value, self.gate = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, y):
        return torch.tanh(self.value(y)) * torch.sigmoid(self.gate(y))


# %%
# The data, and the network
# -------------------------
# `opening` maps inputs to the states of the first layer, `head` the last states to what `loss` takes. A block keeps the
# shape of its states. Inputs and parameters need the same type, here float32.

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.data))
x = torch.tensor(digits.data[order] / 16.0, dtype=torch.float32)
labels = torch.tensor(digits.target[order])
train, test = slice(0, 1000), slice(1000, None)

width, layers = 24, 32
deep = network(
    Gated(width),
    opening=nn.Linear(64, width),
    head=nn.Linear(width, 10),
    loss=nn.functional.cross_entropy,
    inputs=x[train],
    labels=labels[train],
    layers=layers,
    final_time=2.0,
    batch_size=100,
)

# %%
# Train it
# --------
# `Stochastic` takes mini-batches; its updates with `adam` are those of `torch.optim.Adam`. The layers
# are on a grid of two levels, for all ranks of ``pint.world()``: under ``mpiexec -n 2`` each rank has half of the layers,
# and without MPI one process has all. The error of the gradient is measured now and then, and the number of cycles
# rises and falls with it. Where cycles do not suffice, the update is made by sequential steps, and the message says so.
# A run that makes all its epochs ends with the status `ITERATION_LIMIT`, as it should.

grid = deep.grid(coarsening=4, levels=2, comm=pint.world())
functional = pint.ReducedFunctional(deep, grid)
method = pint.Stochastic(pint.adam(), 8, learning_rate=5e-3, cycles="adaptive", seed=2)

# %%
# A coarse layer has the weights of the first of the layers that it stands for, and must resemble them: with ``same=True`` all
# layers begin with the same weights. How much the gradient of the first updates is off, as a part of its norm:

first = replace(method, epochs=1)
for same in (False, True):
    start = deep.start(functional.controls, seed=1, same=same)
    error = pint.minimize(functional, start, first).history[1].gradient_error
    print(f"same={same}: {error:.1e}")

# %%
# The last start is the good one.

result = pint.minimize(functional, start, method)
print(result.message)

# %%
# Leave with an ordinary module
# -----------------------------
module = deep.module(result.control)
with torch.no_grad():
    found = module(x[test]).argmax(1)
print(f"test accuracy {(found == labels[test]).double().mean():.3f}")

# %%
# Look at it
# ----------
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
axes[0].plot([row.objective for row in result.history])
axes[0].set(xlabel="update", title="loss")
confusion = np.zeros((10, 10))
np.add.at(confusion, (labels[test].numpy(), found.numpy()), 1)
axes[1].imshow(np.log1p(confusion), cmap="Blues")
axes[1].set(xlabel="found", ylabel="given", xticks=range(10), yticks=range(10))
plt.show()

# %%
# Where to go from here
# ---------------------
# :doc:`/pytorch_and_jax` has sequences and several kinds of blocks,
# :doc:`/mini_batches` schedules and what cycles do to a gradient, ``examples/train_module.py`` a program with all
# options.
