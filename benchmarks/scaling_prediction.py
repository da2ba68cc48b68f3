"""Predicted strong and weak scaling of one-shot updates to 1,024 ranks, from costs measured here.

The dense network of ``problems.resnet``, width 8, 5,000 examples. The costs of its steps are
measured on this machine, on one rank; the network between ranks is assumed. Printed are the best
configuration for each number of ranks, what it gains over sequential propagation, what splitting
the examples over the ranks would gain instead, and the best combination of both.

    OPENBLAS_NUM_THREADS=1 python benchmarks/scaling_prediction.py --plot scaling.png

``--costs FILE`` keeps the measured costs, or takes them from there if the file exists.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from model_validation import network, random_control

import pint
from pint.model import (
    SEQUENTIAL,
    CallCost,
    Configuration,
    Costs,
    Prediction,
    measure,
    predict,
    strong_scaling,
    suggest,
    weak_scaling,
)

RANKS = [2**power for power in range(11)]
CONTROL_BYTES = 8 * (8 * 8 + 8)


@dataclass(frozen=True)
class Splitting:
    """The examples split into `shares`, each with `ranks` in time."""

    shares: int
    prediction: Prediction
    seconds: float


def measured(options: argparse.Namespace) -> dict[int, Costs]:
    """Return the costs for each share of the examples, from the file if it exists."""
    path = None if options.costs is None else Path(options.costs)
    if path is not None and path.exists():
        saved = json.loads(path.read_text())
        return {int(shares): as_costs(values) for shares, values in saved.items()}
    costs = {}
    for shares in RANKS:
        examples = max(1, options.examples // shares)
        dense, problem = network(examples)
        grid = pint.TimeGrid.uniform(5.0, options.measured_layers, 8, 2)
        control = random_control(dense, problem, grid)
        costs[shares] = measure(problem, control, seconds=options.seconds)
    if path is not None:
        path.write_text(json.dumps({shares: asdict(value) for shares, value in costs.items()}))
    return costs


def as_costs(values: dict[str, Any]) -> Costs:
    """Return the costs that `asdict` made a dictionary of."""
    fields: dict[str, Any] = dict(values)
    for name, value in values.items():
        if isinstance(value, dict):
            fields[name] = CallCost(**value)
        elif isinstance(value, list):
            fields[name] = [CallCost(**level) for level in value]
    return Costs(**fields)


def exchange(costs: Costs, shares: int, steps_per_rank: float) -> float:
    """Return the seconds of summing the gradient over the shares of the examples."""
    if shares == 1:
        return 0.0
    stages = 2 * math.ceil(math.log2(shares))
    return stages * costs.latency + 2 * CONTROL_BYTES * steps_per_rank / costs.bandwidth


def splittings(costs: dict[int, Costs], steps: int, ranks: int, limits: Any) -> list[Splitting]:
    """Return all ways to split the ranks between examples and time, best first."""
    found = []
    for shares, share_costs in costs.items():
        if ranks % shares == 0:
            in_time = ranks // shares
            prediction = suggest(share_costs, steps, in_time, **limits).best
            extra = exchange(share_costs, shares, steps / in_time)
            found.append(Splitting(shares, prediction, prediction.seconds + extra))
    return sorted(found, key=lambda splitting: splitting.seconds)


def described(configuration: Configuration) -> str:
    """Return a configuration in a few words."""
    if configuration.levels == 1:
        return "sequential"
    factors = "x".join(str(factor) for factor in configuration.coarsening)
    kind = "lagged" if configuration.lagged else f"k={configuration.cycles}"
    words = configuration.relaxation
    return f"m={factors} {words if isinstance(words, str) else ','.join(words)} {kind}"


def print_table(title: str, rows: list[tuple[str, list[Prediction]]]) -> None:
    """Print predictions side by side."""
    print(f"\n{title}")
    for name, predictions in rows:
        print(f"  {name}")
        print("    ranks  layers  update (ms)    gain  efficiency  configuration")
        for ranks, p in zip(RANKS, predictions, strict=True):
            print(
                f"    {ranks:5d}  {p.steps:6d}  {1e3 * p.seconds:11.2f}  {p.gain:6.2f}"
                f"  {p.gain / ranks:10.3f}  {described(p.configuration)}"
            )


def plot(path: str, strong: dict[str, list[float]], weak: dict[str, list[float]]) -> None:
    """Draw gains against ranks, and the time of an update against ranks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for name, values in strong.items():
        left.loglog(RANKS, values, ".-", label=name)
    left.loglog(RANKS, RANKS, "k:", linewidth=0.8, label="ideal")
    left.set(xlabel="ranks", ylabel="gain over sequential", title="strong scaling")
    left.set_ylim(0.7, 400)
    for name, values in weak.items():
        right.loglog(RANKS, [1e3 * value for value in values], ".-", label=name)
    right.set(xlabel="ranks", ylabel="time of an update (ms)", title="weak scaling")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Print the tables; return the gains at the number of ranks asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--layers", type=int, default=1024)
    parser.add_argument("--ranks", type=int, default=256, help="the ones to look at closely")
    parser.add_argument("--layers-per-rank", type=int, default=8, help="of weak scaling")
    parser.add_argument("--largest-stride", type=int, default=64)
    parser.add_argument("--latency", type=float, default=2e-6, help="seconds")
    parser.add_argument("--bandwidth", type=float, default=1e10, help="bytes/s")
    parser.add_argument("--measured-layers", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each cost")
    parser.add_argument("--costs", help="file of measured costs")
    parser.add_argument("--plot", help="file of the plot")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.examples, options.measured_layers, options.seconds = 500, 16, 0.01
    costs = {
        shares: value.with_network(options.latency, options.bandwidth)
        for shares, value in measured(options).items()
    }
    whole, limits = costs[1], {"largest_stride": options.largest_stride}
    sequential = predict(whole, options.layers, 1, SEQUENTIAL).seconds
    print(f"sequential update: {1e3 * sequential:.1f} ms; state step {1e6 * whole.state[0](1):.0f}")
    print(f"us, adjoint step {1e6 * whole.adjoint[0](1):.0f} us")

    kinds = {
        "best": {**limits},
        "best of two levels": {**limits, "most_levels": 2},
        "best with k = 2 cycles": {**limits, "cycles": 2},
    }
    strong = {
        name: strong_scaling(whole, options.layers, RANKS, **kind) for name, kind in kinds.items()
    }
    weak = {
        name: weak_scaling(whole, options.layers_per_rank, RANKS, **kind)
        for name, kind in kinds.items()
        if name != "best with k = 2 cycles"
    }
    print_table(f"strong scaling, {options.layers} layers", list(strong.items()))
    print_table(f"weak scaling, {options.layers_per_rank} layers a rank", list(weak.items()))

    print(f"\n{options.layers} layers: gains of splitting layers, examples, and both")
    print("  ranks    time  examples    both  (examples x time)")
    examples, both = [], []
    for ranks in RANKS:
        found = splittings(costs, options.layers, ranks, limits)
        gain = {splitting.shares: sequential / splitting.seconds for splitting in found}
        best = found[0]
        split = f"{best.shares} x {ranks // best.shares}"
        print(
            f"  {ranks:5d}  {gain[1]:6.2f}  {gain[ranks]:8.2f}  {gain[best.shares]:6.2f}"
            f"  ({split}, {described(best.prediction.configuration)})"
        )
        examples.append(gain[ranks])
        both.append(gain[best.shares])

    suggestion = suggest(whole, options.layers, options.ranks, **limits)
    print(f"\n{suggestion}")
    if options.plot:
        curves = {f"time, {name}": [p.gain for p in rows] for name, rows in strong.items()}
        curves["examples"] = examples
        curves["examples and time"] = both
        times = {name: [p.seconds for p in rows] for name, rows in weak.items()}
        times["sequential"] = [p.sequential for p in next(iter(weak.values()))]
        plot(options.plot, curves, times)
    return {"best": suggestion.best.gain, "sequential": sequential}


if __name__ == "__main__":
    main()
