"""SIGTERM and SIGINT as a request to stop after the update at hand."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pint.comm import reduce
from pint.reduced_functional import ReducedFunctional

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def interruptible(functional: ReducedFunctional, active: bool) -> Iterator[Callable[[], bool]]:
    """Catch SIGTERM and SIGINT within a `with` statement.

    Yields a collective function that tells whether any rank has received one. A second signal
    acts as it did before. Nothing is caught if not `active`, or outside the main thread, where
    Python cannot.
    """
    active = active and threading.current_thread() is threading.main_thread()
    before: dict[signal.Signals, Any] = {}
    received = False

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    def note(number: int, frame: Any) -> None:
        nonlocal received
        received = True
        restore()

    def interrupted() -> bool:
        in_time = reduce(functional.comm, received, "max")
        return bool(reduce(functional.problem.space.comm, in_time, "max")[0])

    if active:
        before.update({number: signal.signal(number, note) for number in SIGNALS})
    try:
        yield interrupted
    finally:
        restore()
