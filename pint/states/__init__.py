"""State spaces: how states are stored in blocks of many time points, and measured."""

from pint.states.space import ArraySpace, Block, StateSpace, one_by_one, space_like
from pint.states.transfer import LevelTransfer, Transfer

__all__ = [
    "ArraySpace",
    "Block",
    "LevelTransfer",
    "StateSpace",
    "Transfer",
    "one_by_one",
    "space_like",
]
