"""One-shot with two cycles against the sequential method after the same number of updates.

For each depth and seed both train the peaks network of ``examples/train_resnet.py`` with its
default options; the objective is re-evaluated with exact states. The last column is the ratio of
the objectives, one-shot over sequential; its median over the seeds is to be at most 1.1.

    OPENBLAS_NUM_THREADS=1 python benchmarks/one_shot_against_sequential.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from train_resnet import main as train


def final(*options: str) -> dict:
    """Train with the given options of the example and return its summary."""
    with contextlib.redirect_stdout(io.StringIO()):
        return train([*options, "--quiet"])


def main(arguments: list[str] | None = None) -> dict[int, float]:
    """Print the table; return the median ratio for each depth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", default="100")
    parser.add_argument("--examples", default="2000")
    options, more = parser.parse_known_args(arguments)
    print("layers  seed  sequential  one-shot   ratio  accuracy (%)")
    medians = {}
    for layers in options.layers:
        ratios = []
        for seed in options.seeds:
            common = ["--layers", str(layers), "--seed", str(seed), *more]
            common += ["--iterations", options.iterations, "--examples", options.examples]
            sequential = final("--method", "sequential", *common)
            one_shot = final("--method", "one-shot", "--cycles", "2", *common)
            ratios.append(one_shot["objective"] / sequential["objective"])
            print(
                f"{layers:6d}  {seed:4d}  {sequential['objective']:10.5f}"
                f"  {one_shot['objective']:8.5f}  {ratios[-1]:6.3f}"
                f"  {sequential['validation_accuracy']:.1f} {one_shot['validation_accuracy']:.1f}",
                flush=True,
            )
        medians[layers] = statistics.median(ratios)
        print(f"{layers:6d}  median ratio {medians[layers]:.3f}", flush=True)
    return medians


if __name__ == "__main__":
    main()
