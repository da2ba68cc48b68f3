"""Grids as the ranks of a distributed run see them."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import pint


@dataclass
class FakeRank:
    """What a grid reads of a communicator."""

    rank: int
    size: int


@st.composite
def distributed_grids(draw):
    """Return the same grid as seen by each rank: any N, ranks, factors and levels that fit."""
    steps = draw(st.integers(1, 60))
    size = draw(st.integers(1, 9))
    factors, remaining = [], steps
    for factor in draw(st.lists(st.integers(2, 7), max_size=4)):
        if factor <= remaining:
            factors.append(factor)
            remaining //= factor
    t = np.cumsum([0.0, *draw(st.lists(st.floats(0.1, 2.0), min_size=steps, max_size=steps))])
    return [
        pint.TimeGrid(t, factors or 2, len(factors) + 1, FakeRank(rank, size))
        for rank in range(size)
    ]
