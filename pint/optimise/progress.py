"""Progress of an optimisation: a bar on a terminal, a few plain lines in a log file."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from pint.controls import Control
from pint.equations import State
from pint.errors import integer, number, shown
from pint.optimise.result import Iterate


class Progress:
    """A callback that shows how far an optimisation is, on one rank and without communication.

    On a terminal it is a bar of tqdm, if that is installed (``pint-control[progress]``).
    Elsewhere there is a line for the first and the last iterate, and between them one every
    `interval` seconds at most. Not collective.

    Parameters
    ----------
    iterations : int
        Iteration limit of the optimisation.
    interval : float
        Seconds between plain lines.
    stream : text stream, optional
        Where to write; `sys.stderr` at the time of the first call by default.

    Raises
    ------
    ValueError
        If `iterations` or `interval` is negative or not finite.
    TypeError
        If `stream` cannot be written to.

    Notes
    -----
    An optimisation may end before its iteration limit. Its last iterate is shown by `close`, and
    so at the end of the with statement::

        with pint.Progress(iterations=100) as progress:
            method = pint.OneShot(iterations=100)
            result = pint.minimize(functional, method=method, callback=progress)
    """

    def __init__(
        self, iterations: int, *, interval: float = 10.0, stream: TextIO | None = None
    ) -> None:
        self.iterations = integer("Progress", "iterations", iterations, 0)
        self.interval = number("Progress", "interval", interval)
        for method in ("write", "flush", "isatty"):
            if stream is not None and not callable(getattr(stream, method, None)):
                raise TypeError(
                    f"`Progress(stream=...)` must be a text stream, got {shown(stream)}."
                )
        self.stream = stream
        self._display: _Bar | _Lines | None = None

    def __call__(self, iterate: Iterate, control: Control, state: State) -> None:
        """Show an iterate, on the first rank in time and space only."""
        space = control.space
        hidden = self.stream is None and sys.stderr is None  # as under `pythonw`
        if space.comm.rank > 0 or space.space_comm.rank > 0 or hidden:
            return
        if self._display is None:
            self._display = self._new_display()
        self._display.show(iterate)

    def _new_display(self) -> _Bar | _Lines:
        stream = sys.stderr if self.stream is None else self.stream
        if stream.isatty():
            try:
                return _Bar(stream, self.iterations)
            except ImportError:  # tqdm is optional
                pass
        return _Lines(stream, self.iterations, self.interval)

    def close(self) -> None:
        """Show the last iterate, if it has not been shown. Not collective."""
        if self._display is not None:
            self._display.close()
        self._display = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Bar:
    def __init__(self, stream: TextIO, total: int) -> None:
        from tqdm import tqdm

        self.bar: Any = tqdm(total=total, file=stream, miniters=1, dynamic_ncols=True)

    def show(self, iterate: Iterate) -> None:
        text = f"J = {iterate.objective:.6e}, |g| = {iterate.gradient_norm:.1e}"
        self.bar.set_postfix_str(text, refresh=iterate.iteration == 0)
        self.bar.update(iterate.iteration - self.bar.n)

    def close(self) -> None:
        self.bar.close()


class _Lines:
    def __init__(self, stream: TextIO, total: int, interval: float) -> None:
        self.stream, self.total, self.interval = stream, total, interval
        self.due = 0.0
        self.held_back: Iterate | None = None

    def show(self, iterate: Iterate) -> None:
        # Log files grow by a line an interval, not by a line an update.
        if iterate.iteration in (0, self.total) or iterate.seconds >= self.due:
            self._write(iterate)
        else:
            self.held_back = iterate

    def close(self) -> None:
        if self.held_back is not None:
            self._write(self.held_back)

    def _write(self, iterate: Iterate) -> None:
        self.held_back, self.due = None, iterate.seconds + self.interval
        self.stream.write(
            f"iteration {iterate.iteration:{len(str(self.total))}d}/{self.total}"
            f"  J = {iterate.objective:.8e}  |g| = {iterate.gradient_norm:.2e}"
            f"  residual = {iterate.state_residual:.2e}  step = {iterate.step:.3g}"
            f"  {iterate.seconds:.1f} s\n"
        )
        self.stream.flush()
