"""What the numbers in a checkpoint must be: one table, and how it is applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pint.mgrit import Convergence
from pint.optimise.strategy import MOST_EFFORT

MOST = 10**15
"""Of counts: integers up to it are exact as floats, and no run gets there."""


@dataclass(frozen=True)
class Rule:
    """What a number must be.

    Attributes
    ----------
    text : str
        Ends the sentence "it must be".
    accepts : callable
        Receives what JSON gives.
    """

    text: str
    accepts: Callable[[Any], bool]

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError unless the number `name` is accepted."""
        if not self.accepts(value):
            raise ValueError(f"`{name}` must be {self.text}, got {short(value)}")


def is_real(value: Any) -> bool:
    """Whether a value of JSON is a number that a float holds, NaN and infinity included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) <= MOST


def is_count(value: Any, least: int = 0, most: int = MOST) -> bool:
    """Whether a value of JSON is an integer from `least` to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


REAL = Rule("a number", is_real)
FINITE = Rule("a finite number", lambda x: is_real(x) and math.isfinite(x))
POSITIVE = Rule("positive and finite", lambda x: is_real(x) and 0 < x < math.inf)
SHARE = Rule("above 0 and at most 1", lambda x: is_real(x) and 0 < x <= 1)
NOT_NEGATIVE = Rule("finite and not negative", lambda x: is_real(x) and 0 <= x < math.inf)
ESTIMATE = Rule("a number that is not negative, or NaN", lambda x: is_real(x) and not x < 0)
COUNT = Rule(f"an integer from 0 to {MOST}", is_count)
FLAG = Rule("true or false", lambda x: isinstance(x, bool))
MAYBE_ESTIMATE = Rule("null or not negative", lambda x: x is None or ESTIMATE.accepts(x))


def _is_convergence(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and value.keys() == {field.name for field in fields(Convergence)}
        and isinstance(value["converged"], bool)
        and isinstance(value["residuals"], list)
        and all(map(ESTIMATE.accepts, [value["bound"], *value["residuals"]]))
    )


RULES: Mapping[str, Rule] = {
    "step": POSITIVE,
    "slope": Rule("finite and not positive", lambda x: is_real(x) and -math.inf < x <= 0),
    "scaling": POSITIVE,
    "mu": NOT_NEGATIVE,
    "unit": POSITIVE,
    "weight": NOT_NEGATIVE,
    "worst": NOT_NEGATIVE,
    **{f"filter.{name}": POSITIVE for name in ("infeasibility", "objective", "least", "most")},
    "strategy.effort": Rule(
        f"an integer from 1 to {MOST_EFFORT}", lambda x: is_count(x, 1, MOST_EFFORT)
    ),
    "strategy.eta": SHARE,
    "strategy.sensitivity": ESTIMATE,
    "strategy.first_residual": ESTIMATE,
    "strategy.start_residual": ESTIMATE,
    "strategy.state_error": ESTIMATE,
    **{f"strategy.{name}.ratio": SHARE for name in ("of_objective", "of_gradient", "of_state")},
    **{
        f"strategy.{name}.last": MAYBE_ESTIMATE
        for name in ("of_objective", "of_gradient", "of_state")
    },
    "rate": NOT_NEGATIVE,
    "gradients.cycles": Rule("an integer from 1 to 1000", lambda x: is_count(x, 1, 1000)),
    "gradients.mean_square": NOT_NEGATIVE,
    **{
        f"gradients.{name}": ESTIMATE
        for name in ("factor", "contraction", "slow", "error", "residuals", "size", "worst")
    },
    "point.errors": ESTIMATE,
    "point.correction": FINITE,
    "point.convergence": Rule("residuals and whether they met a tolerance", _is_convergence),
}
"""Of the numbers of a run, by their names; those of a list have the name of the list."""

COLUMNS: Mapping[str, Rule] = {
    "objective": FINITE,
    "cost": FINITE,
    "regularisers": FINITE,
    "gradient_norm": NOT_NEGATIVE,
    "objective_error": ESTIMATE,
    "gradient_error": ESTIMATE,
    "state_residual": ESTIMATE,
    "adjoint_residual": ESTIMATE,
    "step": NOT_NEGATIVE,
    "phases": NOT_NEGATIVE,
    "seconds": NOT_NEGATIVE,
}
"""Of the numbers of the history that are no counts, by the names of the fields of `Iterate`."""

GENERATOR: Mapping[str, int] = {"pos": 624, "buffer_pos": 4, "has_uint32": 1}
"""Largest values in the states of numpy's generators, which does not check them itself."""


def check_numbers(found: Any, like: Any, name: str = "") -> None:
    """Raise ValueError unless numbers have the names and the kinds of others. Not collective.

    Parameters
    ----------
    found : object
        As JSON gives it.
    like : object
        What another run has there.
    name : str
        What messages call it; `RULES` has what is known of it.
    """
    if isinstance(like, Mapping):
        if not isinstance(found, dict) or found.keys() != like.keys():
            names = ", ".join(map(str, like))
            raise ValueError(f"`{name or 'run'}` must have {names}, got {short(found)}")
        for part, other in like.items():
            check_numbers(found[part], other, f"{name}.{part}" if name else str(part))
    elif isinstance(like, (list, tuple)):
        if not isinstance(found, list) or len(found) != len(like):
            raise ValueError(f"`{name}` must have {len(like)} parts, got {short(found)}")
        for part, other in zip(found, like, strict=True):
            check_numbers(part, other, name)
    else:
        _rule(name, like).check(name, found)


def _rule(name: str, like: Any) -> Rule:
    if name in RULES:
        return RULES[name]
    if isinstance(like, bool):
        return FLAG
    return COUNT if isinstance(like, int) else REAL


def check_generator(found: Any, random: np.random.Generator) -> None:
    """Raise ValueError unless `found` is a state of a generator of the kind of `random`."""
    like = random.bit_generator.state
    _check_state(found, like, "random")
    other = type(random.bit_generator)()
    try:
        other.state = found
        restored = other.state
    except (ValueError, TypeError, KeyError, OverflowError, IndexError) as error:
        raise ValueError(f"`random` is no state of a {like['bit_generator']} ({error})") from None
    _check_state(found, restored, "random", exactly=True)


def _check_state(found: Any, like: Any, name: str, exactly: bool = False) -> None:
    """Raise ValueError unless `found` has the names of `like`; `exactly`: its numbers, too."""
    if isinstance(like, np.ndarray):
        like = like.tolist()
    if isinstance(like, dict):
        if not isinstance(found, dict) or found.keys() != like.keys():
            raise ValueError(f"`{name}` must have {', '.join(like)}, got {short(found)}")
        for part in like:
            _check_state(found[part], like[part], f"{name}.{part}", exactly)
    elif isinstance(like, list):
        if not isinstance(found, list) or len(found) != len(like):
            raise ValueError(f"`{name}` must be {len(like)} integers, got {short(found)}")
        for part, other in zip(found, like, strict=True):
            _check_state(part, other, name, exactly)
    elif isinstance(like, int):
        most = GENERATOR.get(name.rpartition(".")[2], 2**128)
        if not is_count(found, 0, most) or (exactly and found != like):
            raise ValueError(f"`{name}` is no state of a generator, got {short(found)}")
    elif found != like:
        raise ValueError(f"`{name}` must be {like}, got {short(found)}")


def short(value: Any) -> str:
    """Return a value as messages show it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({type(value).__name__})"
