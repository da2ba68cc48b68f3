"""State spaces: how states are stored in blocks of many time points, and measured."""

from pint.states.space import ArraySpace, Block, StateSpace

__all__ = ["ArraySpace", "Block", "StateSpace"]
