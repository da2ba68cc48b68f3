"""State spaces: how states are stored in blocks of many time points, and measured."""

from pint.states.space import ArraySpace, Block, StateSpace, one_by_one, space_like

__all__ = ["ArraySpace", "Block", "StateSpace", "one_by_one", "space_like"]
