"""Progress: readable in a log file, a bar on a terminal, silent on all ranks but the first."""

import io
import re
import sys
from types import SimpleNamespace

import pytest

import pint


class Terminal(io.StringIO):
    def isatty(self):
        return True


def control(rank=0, space_rank=0):
    """Return what a callback may look at on one of 3 x 2 ranks; it has no way to communicate."""
    space = SimpleNamespace(
        comm=SimpleNamespace(rank=rank, size=3),
        space_comm=SimpleNamespace(rank=space_rank, size=2),
    )
    return SimpleNamespace(space=space)


def run(stream, iterations, seconds_each=1.0, limit=None, where=None, **options):
    """Report iterates 0, ..., `iterations` of at most `limit`; return what was written."""
    with pint.Progress(limit or iterations, stream=stream, **options) as progress:
        for i in range(iterations + 1):
            iterate = SimpleNamespace(
                iteration=i,
                objective=1.25 * 0.5**i,
                gradient_norm=10.0**-i,
                state_residual=1e-9,
                step=1.0,
                seconds=i * seconds_each,
            )
            progress(iterate, where or control(), None)
    return stream.getvalue()


def iterations_in(text):
    """Return the iterations of the lines of a log, each of which must be a complete row."""
    assert "\r" not in text and "\x1b" not in text
    assert text.endswith("\n")
    row = r"iteration +(\d+)/\d+  J = \S+  \|g\| = \S+  residual = \S+  step = \S+  \S+ s"
    return [int(re.fullmatch(row, line)[1]) for line in text.splitlines()]


def test_a_log_file_gets_the_first_the_last_and_a_row_an_interval():
    text = run(io.StringIO(), 100)
    assert iterations_in(text) == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert "iteration   0/100  J = 1.25000000e+00  |g| = 1.00e+00" in text


def test_fast_iterations_are_two_rows():
    assert iterations_in(run(io.StringIO(), 500, seconds_each=0.001)) == [0, 500]


def test_slow_iterations_are_a_row_each():
    assert iterations_in(run(io.StringIO(), 4, seconds_each=11.0)) == [0, 1, 2, 3, 4]


def test_the_interval_is_the_user_s():
    assert iterations_in(run(io.StringIO(), 9, interval=3.0)) == [0, 3, 6, 9]


@pytest.mark.parametrize("iterations", [0, 1, 23, 30])
def test_closing_shows_the_last_row_of_a_run_that_converged_early_once(iterations):
    shown = iterations_in(run(io.StringIO(), iterations, limit=1000))
    assert shown == sorted({*range(0, iterations + 1, 10), iterations})


def test_the_last_row_is_there_without_closing():
    stream = io.StringIO()
    progress = pint.Progress(5, stream=stream)
    for i in range(6):
        iterate = SimpleNamespace(
            iteration=i, objective=0, gradient_norm=0, state_residual=0, step=1, seconds=0.1
        )
        progress(iterate, control(), None)
    assert iterations_in(stream.getvalue()) == [0, 5]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("where", [(1, 0), (0, 1), (2, 1)])
def test_only_the_first_rank_writes(stream, where):
    assert run(stream(), 20, where=control(*where)) == ""


def test_a_terminal_gets_a_bar():
    text = run(Terminal(), 8)
    last = text.split("\r")[-1]
    assert "\r" in text
    assert "8/8" in last
    assert "J = 4.882812e-03, |g| = 1.0e-08" in last
    assert "iteration" not in text


def test_the_bar_of_a_run_that_converged_early_keeps_its_total():
    assert "3/50" in run(Terminal(), 3, limit=50).split("\r")[-1]


def test_without_tqdm_a_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert iterations_in(run(Terminal(), 20)) == [0, 10, 20]


def test_the_default_stream_is_standard_error_when_called(monkeypatch):
    progress = pint.Progress(0)
    late = io.StringIO()
    monkeypatch.setattr(sys, "stderr", late)
    iterate = SimpleNamespace(
        iteration=0, objective=1.0, gradient_norm=1.0, state_residual=0.0, step=1.0, seconds=0.0
    )
    progress(iterate, control(), None)
    assert iterations_in(late.getvalue()) == [0]


@pytest.mark.parametrize(
    ("iterations", "options", "name"),
    [(-1, {}, "iterations"), (2.5, {}, "iterations"), (3, {"interval": -1.0}, "interval")],
)
def test_arguments_out_of_range(iterations, options, name):
    with pytest.raises(ValueError, match=name):
        pint.Progress(iterations, **options)


def test_without_stderr_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    progress = pint.Progress(3)
    progress(None, control(), None)
    progress.close()
