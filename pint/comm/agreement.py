"""What must be the same on all ranks is compared; an error of one rank is one of all."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pint.comm.communicators import SerialComm, is_alone, reduce
from pint.comm.fingerprint import fingerprint, leaves
from pint.comm.guards import alike, is_alike

_SHOWN = 100
"""Most characters of a value in an error."""


class agreeing:  # noqa: N801  (read as a phrase: `with agreeing(comm, "TimeGrid") as ranks:`)
    """Context at whose end all ranks know whether they agree; collective there.

    It costs one reduction for each communicator of several ranks. Within it each rank works on
    its own, without a message. Where an exception leaves the context on some ranks only, those
    raise it, and the others a RuntimeError that names the rank and quotes it: the ranks stay in
    step, and all of them end.

    Parameters
    ----------
    comm : communicator
        The ranks in time.
    owner : str
        The function or class whose arguments are compared, for errors.
    space : communicator, optional
        The ranks in space.

    Attributes
    ----------
    same : dict
        Values by name that must be the same on all ranks. So must `owner`: calls of different
        functions meet here, too.
    same_in_time : dict
        Values that must be the same on all ranks in time that have the same place in space.
    expected : dict
        Values of the user's own objects, compared as those of `same_in_time`. They may differ for
        a good reason, such as a counter, and a difference is no error.
    advice : str
        What to do about a difference of `same_in_time` or `expected`, a sentence.
    difference : str
        After the context, the first difference of the `expected` values, empty if there is none.

    Raises
    ------
    ValueError
        On every rank, if a value differs; the message names it, and the ranks.
    """

    def __init__(self, comm: Any, owner: str, space: Any = None) -> None:
        self.comm, self.owner = comm, owner
        self.space = SerialComm() if space is None else space
        self.same: dict[str, Any] = {}
        self.same_in_time: dict[str, Any] = {}
        self.expected: dict[str, Any] = {}
        self.difference, self.advice = "", ""

    def __enter__(self) -> agreeing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if is_alone(self.comm) and is_alone(self.space):
            return
        if is_alike(error):  # of a context within this one: all ranks leave both
            return
        failed = error is not None
        everywhere, *in_time = (
            0.0 if failed else float(fingerprint(values))
            for values in ((self.owner, self.same), self.same_in_time, self.expected)
        )
        # Least values, and by their negatives the largest ones
        mine = [-failed, failed, everywhere, -everywhere]
        *least, low, high, expected_low, expected_high = reduce(
            self.comm, [*mine, *(sign * number for number in in_time for sign in (1, -1))], "min"
        )
        differs = [-float(low != -high), -float(expected_low != -expected_high)]
        least = reduce(self.space, [*least, *differs], "min").tolist()
        if least[0] < 0:
            self._raise_for_all(error, by_all=least[1] == 1)
            return
        if least[2] != -least[3]:
            raise alike(ValueError(self._named_difference(self.same, in_space=True)))
        if least[4] < 0:
            raise alike(ValueError(self._named_difference(self.same_in_time)))
        if least[5] < 0:
            self.difference = self._named_difference(self.expected)

    def _raise_for_all(self, error: BaseException | None, by_all: bool) -> None:
        """Raise on the ranks without an error of their own, if there are any."""
        if error is not None:
            alike(error)
        if by_all:
            return
        mine = "" if error is None else f"{type(error).__name__}: {error}"
        texts = [text for some in self._gathered(mine) for text in some]
        if error is None:
            rank = next(number for number, text in enumerate(texts) if text)
            raise alike(RuntimeError(f"`{self.owner}` failed on rank {rank} with {texts[rank]}"))

    def _named_difference(self, values: dict[str, Any], in_space: bool = False) -> str:
        """Return what differs, and on which ranks. Collective."""
        owners = [owner for some in self._gathered(self.owner) for owner in some]
        for rank, owner in enumerate(owners):
            if owner != owners[0]:
                return (
                    f"all ranks must call the same, but rank 0 has called `{owners[0]}`, and rank "
                    f"{rank} `{owner}`: every rank calls what is documented as collective."
                )
        gathered = self._gathered(_parts(values))
        places = range(self.space.size)
        groups = [
            {
                (time, place): some
                for time, row in enumerate(gathered)
                for place, some in enumerate(row)
                if in_space or place == only
            }
            for only in places
        ]
        for group in groups:
            # A name may be missing where the kind of an object differs.
            for name in dict.fromkeys(name for parts in group.values() for name in parts):
                found: dict[Any, tuple[str, list[int]]] = {}
                for (time, place), parts in group.items():
                    number, text = parts.get(name, (None, "missing"))
                    # Ranks in space follow each other: see `split`.
                    found.setdefault(number, (text, []))[1].append(time * len(places) + place)
                if len(found) > 1:
                    values_found = " and ".join(
                        f"{text} on {_named(ranks)}" for text, ranks in found.values()
                    )
                    text = (
                        f"`{self.owner}({name}=...)` must be the same on all ranks, but it is "
                        f"{values_found}."
                    )
                    return text if in_space or not self.advice else f"{text} {self.advice}"
        return f"the arguments of `{self.owner}` must be the same on all ranks."

    def _gathered(self, value: Any) -> list[list[Any]]:
        """Return the value of each rank, by rank in time, then in space. Collective."""
        # All ranks of one place in time are neighbours in the world.
        result: list[list[Any]] = self.comm.allgather(self.space.allgather(value))
        return result


def sums_and_means(
    comm: Any, summed: ArrayLike, same: ArrayLike
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return sums of numbers over all ranks, and the means of other ones. Collective.

    The latter should be the same on all ranks, and the third result says whether they are, to 1e-5
    of their size. Their means are the same to the last bit, and NaN on one rank is NaN on all. All
    that is one reduction.
    """
    own = np.asarray(same, float)
    if len(own) == 0 or is_alone(comm):
        return reduce(comm, summed), own, True
    with np.errstate(over="ignore", invalid="ignore"):
        both = reduce(comm, np.concatenate([summed, own, own * own]))
        first, size = len(both) - 2 * len(own), comm.size
        totals, squares = both[first : -len(own)], size * both[-len(own) :]
        differs = squares - totals * totals > 1e-10 * squares
    return both[:first], totals / size, not differs.any()


def _parts(values: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """Return fingerprint and text of each part of the values."""
    return {
        name: (fingerprint(part), _text(part))
        for key, value in values.items()
        for name, part in leaves(value, key)
    }


def _text(value: Any) -> str:
    """Return a value in one short line."""
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, np.ndarray) and value.size > 4:
        return f"an array of shape {value.shape}"
    text = " ".join(repr(value).split())
    # Paths differ at their ends.
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"


def _named(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    return f"rank {shown}" if len(ranks) == 1 else f"ranks {shown}"
