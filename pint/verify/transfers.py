"""The dot tests of the maps between the states of levels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from pint.comm import reduce
from pint.reduced_functional import ReducedFunctional
from pint.states import Block, LevelTransfer, StateSpace
from pint.verify.claims import FINITE, UNCHANGED
from pint.verify.products import precision_of
from pint.verify.reports import Check

STATES = 3
"""Of a block, so that maps of batches which mix them up show."""


def transfer_checks(functional: ReducedFunctional, seed: int) -> Iterator[Check]:
    """Yield ``<lam, R v> = <R^T lam, v>`` for R and P of each level. Collective in space.

    Random v and lam, of which each rank in space has its part: a map that is not linear fails,
    too.
    """
    method = f"{type(functional.problem.stepper).__name__}.transfer"
    for level, transfer in enumerate(functional.calls.transfers):
        if transfer is None:
            continue
        sides = {
            "restrict": (transfer.fine, transfer.coarse),
            "prolong": (transfer.coarse, transfer.fine),
        }
        for side, (source, target) in sides.items():
            random = np.random.default_rng([seed, level, source.comm.rank])
            error, changed, tolerance = _dot_error(transfer, side, source, target, random)
            finite = math.isfinite(error)
            note = f"that is no transpose of `{side}`, or `{side}` is not linear"
            yield Check(method, level, side, UNCHANGED, changed)
            yield Check(method, level, side, FINITE, 0.0 if finite else math.inf)
            yield Check(
                method, level, side, f"transpose of {side}", error if finite else math.inf,
                tolerance, note="" if error <= tolerance else note,
            )  # fmt: skip


def _dot_error(
    transfer: LevelTransfer,
    side: str,
    source: StateSpace,
    target: StateSpace,
    random: np.random.Generator,
) -> tuple[float, float, float]:
    """Return the relative difference of the products, the arguments' change, and a tolerance."""

    def normal(space: StateSpace) -> Block:
        block = space.allocate(STATES)
        block[...] = random.standard_normal((STATES, *space.shape))
        return block

    v, lam = normal(source), normal(target)
    copies = 1.0 * v, 1.0 * lam
    image, dual = target.allocate(STATES), source.allocate(STATES)
    getattr(transfer, side)(v, image)
    getattr(transfer, f"{side}_transposed")(lam, dual)
    pairs = [
        target.pair(copies[1], image),
        source.pair(dual, copies[0]),
        target.pair(image, image),
        target.pair(copies[1], copies[1]),
        source.pair(v - copies[0], v - copies[0]) + target.pair(lam - copies[1], lam - copies[1]),
    ]
    left, right, *squares, changed = reduce(source.comm, np.array(pairs)).tolist()
    scale = math.sqrt(squares[0] * squares[1]) or 1.0
    tolerance = precision_of({"y": source.as_array(v)}).tolerance(False)
    return abs(left - right) / scale, changed, tolerance
