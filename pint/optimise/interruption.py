"""SIGTERM and SIGINT as a request to stop after the current update."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def interruptible(active: bool) -> Iterator[Callable[[], bool]]:
    """Catch SIGTERM and SIGINT within a `with` statement.

    Yields a function that tells whether this rank has received one. A second signal has its
    default effect, unless it arrives within one second of the first: launchers and batch
    systems send the same request several times. Nothing is caught if not `active`, nor outside the
    main thread, where Python cannot catch signals.
    """
    active = active and threading.current_thread() is threading.main_thread()
    before: dict[signal.Signals, Any] = {}
    received: float | None = None

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    def note(number: int, frame: Any) -> None:
        nonlocal received
        # Only noted, since the signal may interrupt a message: the loop ends on all ranks at once.
        if received is None:
            received = time.monotonic()
        elif time.monotonic() - received > 1.0:
            restore()
            os.kill(os.getpid(), number)

    if active:
        for number in SIGNALS:  # None: a handler that is not Python's
            before[number] = signal.signal(number, note) or signal.SIG_DFL
    try:
        yield lambda: received is not None
    finally:
        restore()
