"""State spaces: how states are stored in blocks of many time points, and measured.

That of PETSc vectors is in `pint.states.petsc`, that of PyTorch tensors in `pint.states.torch`.
"""

from pint.states.space import ArraySpace, Block, StateSpace, gathered, one_by_one, space_like
from pint.states.transfer import LevelTransfer, Transfer

__all__ = [
    "ArraySpace",
    "Block",
    "LevelTransfer",
    "StateSpace",
    "Transfer",
    "gathered",
    "one_by_one",
    "space_like",
]
