"""One gradient of a network of PyTorch modules: by sequential steps, and by plain PyTorch.

    python benchmarks/run_all.py module_gradient [--quick]

Five kinds of layers of width 32, B examples, N layers, float64, one thread. `PyTorch` is the
module that `Network.module` returns: its value and `backward`; `pint` is
``ReducedFunctional.value_and_gradient`` on a grid of one level. Both in CPU time, medians
of interleaved calls. Both give the same gradient to 1e-12, which is checked first. Target: at most
1.15.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from measuring import NOT_INSTALLED, Row, installed, options_of, plot_lines, print_table, save

import pint

CASES = ((200, 32), (200, 1024), (5000, 32))


def compared(kind: str, examples: int, layers: int, repeats: int) -> Row:
    """Return the seconds of both ways."""
    from module_kinds import make
    from torch.nn import functional

    made, given, labels = make(kind, examples, layers)
    reduced = pint.ReducedFunctional(made, made.grid())
    control = made.start(reduced.controls)
    module = made.module(control)

    def plain() -> None:
        module.zero_grad()
        functional.cross_entropy(module(*given), labels).backward()

    def ours() -> Any:
        return reduced.value_and_gradient(control)[1]

    plain()
    found = ours()
    for name, one in module.blocks[-1].named_parameters():
        expected = one.grad.numpy()
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(found[f"block.{name}"][-1], expected, atol=1e-12 * scale)
    seconds: dict[str, list[float]] = {"PyTorch": [], "pint": []}
    for _ in range(repeats):
        for way, function in (("PyTorch", plain), ("pint", ours)):
            begin = time.process_time()  # other processes may use the machine
            function()
            seconds[way].append(time.process_time() - begin)
    medians = {way: statistics.median(several) for way, several in seconds.items()}
    ratio = medians["pint"] / medians["PyTorch"]
    return {"layer": kind, "B": examples, "N": layers, **medians, "pint/PyTorch": ratio}


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    options = options_of(__doc__, arguments, repeats=7)
    if not installed("torch"):
        rows: list[Row] = [{"layer": NOT_INSTALLED}]
        print_table("Modules: no PyTorch", rows)
        return rows
    from module_kinds import KINDS

    cases = ((10, 8), (10, 16)) if options.quick else CASES
    rows = [compared(kind, *case, options.repeats) for kind in KINDS for case in cases]
    print_table("Gradient of a network of modules, seconds", rows)
    save("module_gradient", rows, options.output)
    largest = cases[-1][0]
    lines = {
        way: {row["N"]: row[way] for row in rows if row["layer"] == "two" and row["B"] == largest}
        for way in ("PyTorch", "pint")
    }
    plot_lines(
        options.output / "module_gradient.png", f"Two dense layers, B = {largest}", "N", lines
    )
    return rows


if __name__ == "__main__":
    main()
