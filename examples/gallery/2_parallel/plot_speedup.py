"""
How much faster on how many ranks?
==================================

`pint.model` measures this machine's steps once, here those of a residual network, and predicts times on
many ranks from them: before any of these ranks is paid for.
"""

import matplotlib.pyplot as plt

import pint
from problems.peaks import generate
from problems.resnet import DenseNetwork

network = DenseNetwork(features=2, width=8, classes=5)
problem = network.problem(*generate(500, seed=1))
functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(5.0, 32))
costs = pint.model.measure(problem, network.random_control(functional.controls, seed=0))
ranks = [1, 4, 16, 64]
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for steps in (256, 2048):
    best = [pint.model.suggest(costs, steps=steps, ranks=P, most_levels=3).best for P in ranks]
    gains = [one.gain for one in best]
    print(
        f"{steps} layers: "
        + ", ".join(f"{g:.1f} on {P}" for g, P in zip(gains, ranks, strict=True))
    )
    axes.loglog(ranks, gains, "o-", label=f"{steps} layers")
axes.set(xlabel="ranks", ylabel="times faster than sequential")
axes.legend()
plt.show()
