"""A resumed run is the uninterrupted one; a file that does not fit is refused and stays."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import linear_quadratic
import numpy as np
import pytest
from checkpoint_cases import (
    METHODS,
    assert_same_run,
    bounded,
    grid,
    pendulum,
    solve,
)

import pint
from pint.report.files import write_atomically

SAVED, UPDATES = 4, 14
COUNTS = ("state_cycles", "adjoint_cycles", "state_steps", "adjoint_steps", "steps_by_level")


PAIRS = [
    *(("network", method) for method in METHODS),
    *((problem, "one-shot") for problem in ("bounded", "pendulum", "hats")),
    ("bounded", "lagged"),
    ("bounded", "adaptive"),
    ("pendulum", "sequential"),
    ("pendulum", "adaptive"),
    ("hats", "mgrit"),
    ("hats", "lagged"),
    ("corrected", "lagged"),
]
"""Each problem with several methods, each method with several problems."""


class Killed(BaseException):
    """Not handled anywhere, as if the process ended."""


def killed_at(number):
    def callback(iterate, control, state):
        if iterate.iteration == number:
            raise Killed

    return callback


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


def saved(path, problem="bounded", method="one-shot"):
    """Save a run that was killed after `SAVED` updates; return the file's bytes."""
    checkpoint = pint.Checkpoint(path, interval=0)
    with pytest.raises(Killed):
        solve(problem, method, checkpoint=checkpoint, callback=killed_at(SAVED + 1))
    return path.read_bytes()


def leave_a_half(path):
    """Leave what a process leaves that is killed while it writes `path`."""
    process = os.fork()
    if process == 0:
        write_atomically(path, lambda file: os._exit(0))
    os.waitpid(process, 0)


def resume(path, problem="bounded", method="one-shot", **options):
    checkpoint = pint.Checkpoint(path, interval=0, resume=True)
    return solve(problem, method, checkpoint=checkpoint, **options)


# The same run


@pytest.mark.parametrize(("problem", "method"), PAIRS)
def test_a_resumed_run_is_the_uninterrupted_one(path, problem, method):
    whole, expected = solve(problem, method, iterations=UPDATES)
    saved(path, problem, method)
    resumed, controls = resume(path, problem, method, iterations=UPDATES)
    assert min(controls, default=SAVED + 1) == SAVED + 1
    # F-points that are computed again round differently; interpolated steps make more of that.
    assert_same_run(resumed, whole, controls, expected, 1e-9)
    for row, other in zip(resumed.history, whole.history, strict=True):
        assert [getattr(row, name) for name in COUNTS] == [getattr(other, name) for name in COUNTS]
    seconds = [row.seconds for row in resumed.history]
    assert seconds == sorted(seconds)


def test_resumed_after_every_update(path):
    whole, expected = solve("pendulum", "adaptive", iterations=8)
    for number in range(8):
        again = pint.Checkpoint(path, interval=0, resume=number > 0)
        with pytest.raises(Killed):
            solve("pendulum", "adaptive", checkpoint=again, callback=killed_at(number + 1))
    resumed, controls = resume(path, "pendulum", "adaptive", iterations=8)
    assert_same_run(resumed, whole, controls, expected, 1e-10)


def test_the_same_functional_may_go_on(path):
    functional, start = bounded(2)
    three, six = (pint.OneShot(iterations=n, gradient_tolerance=0.0) for n in (3, 6))
    whole = pint.minimize(functional, start, six)
    offset = whole.history[-1].state_cycles
    first = pint.minimize(functional, start, three, checkpoint=pint.Checkpoint(path))
    again = pint.Checkpoint(path, resume=True)
    resumed = pint.minimize(functional, start, six, checkpoint=again)
    assert repr(resumed.history[:4]) == repr(first.history)
    assert resumed.history[-1].objective == whole.history[-1].objective
    done = resumed.history[-1].state_cycles - first.history[0].state_cycles
    assert done == offset - whole.history[0].state_cycles


@pytest.mark.parametrize("hessian", [pint.lbfgs(3), pint.lbfgs(), pint.bfgs()])
def test_exact_solves_go_on_to_the_last_bit(path, hessian):
    """With one level nothing but the pairs and their inner products depends on the past."""
    options = {"hessian": hessian, "gradient_tolerance": 0.0}
    six, twelve = (pint.ReducedSpace(iterations=n, **options) for n in (6, 12))
    functional, start = pendulum(1)
    whole = pint.minimize(functional, start, twelve)
    pint.minimize(functional, start, six, checkpoint=pint.Checkpoint(path))
    resumed = pint.minimize(
        functional, start, twelve, checkpoint=pint.Checkpoint(path, resume=True)
    )
    np.testing.assert_array_equal(resumed.control.vector, whole.control.vector)
    assert resumed.objective == whole.objective
    assert [row.gradient_norm for row in resumed.history] == [
        row.gradient_norm for row in whole.history
    ]


def test_a_limit_that_was_reached_and_is_raised(path):
    """However long the interval, the run is saved at its end."""
    whole, expected = solve("network", "one-shot", iterations=9)
    first, _ = solve("network", "one-shot", iterations=5, checkpoint=pint.Checkpoint(path))
    assert first.status is pint.Status.ITERATION_LIMIT
    written = path.stat().st_mtime_ns
    same, controls = resume(path, "network", "one-shot", iterations=5)
    assert path.stat().st_mtime_ns == written  # nothing new to save
    assert (same.status, controls) == (first.status, {})
    assert repr(same.history) == repr(first.history)
    assert same.objective == first.objective
    resumed, controls = resume(path, "network", "one-shot", iterations=9)
    assert_same_run(resumed, whole, controls, expected, 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_has_converged_ends_at_once(path, method):
    options = {"gradient_tolerance": 1e-7, "iterations": 100}
    first, _ = solve("bounded", method, checkpoint=pint.Checkpoint(path), **options)
    assert first.status is pint.Status.CONVERGED
    again, controls = resume(path, "bounded", method, **options)
    assert (again.status, again.iterations, controls) == (first.status, first.iterations, {})
    assert again.objective == pytest.approx(first.objective, rel=1e-13)
    tighter, _ = resume(path, "bounded", method, gradient_tolerance=1e-9, iterations=100)
    assert tighter.status is pint.Status.CONVERGED
    assert tighter.gradient_norm <= 1e-9


@pytest.mark.parametrize("kind", ["PCG64", "MT19937", "Philox", "SFC64"])
def test_the_random_generator_goes_on(path, kind):
    def generator():
        return np.random.Generator(getattr(np.random, kind)(7))

    def run(random, checkpoint, last):
        def callback(iterate, control, state):
            random.integers(2**32, dtype=np.uint32)  # leaves half of a number in the generator
            drawn.append(random.standard_normal())

        solve("bounded", "sequential", callback=callback, iterations=last, checkpoint=checkpoint)

    drawn = []
    run(generator(), None, 6)
    expected, drawn = drawn, []
    first = generator()
    run(first, pint.Checkpoint(path, random=first), 3)
    other = np.random.Generator(getattr(np.random, kind)(8))
    run(other, pint.Checkpoint(path, resume=True, random=other), 6)
    assert drawn == expected
    message = f"random=...\\)` of the kind {kind}, not PCG64DXSM"
    with pytest.raises(ValueError, match=message):
        another = np.random.Generator(np.random.PCG64DXSM(0))
        run(another, pint.Checkpoint(path, resume=True, random=another), 6)


def test_the_interval_is_kept(path, monkeypatch):
    now, times = [0.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def callback(iterate, control, state):
        times.append(path.stat().st_mtime_ns if path.exists() else None)
        now[0] += 4.0

    checkpoint = pint.Checkpoint(path, interval=10.0)
    solve("bounded", "one-shot", iterations=7, callback=callback, checkpoint=checkpoint)
    assert [a != b for a, b in pairwise(times)] == [0, 0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize("interval", [-1.0, float("nan")])
def test_a_wrong_interval(interval):
    with pytest.raises(ValueError, match="`Checkpoint\\(interval="):
        pint.Checkpoint("run.npz", interval)


# Signals


def signals_at(number, *signals, clock=lambda: None):
    def callback(iterate, control, state):
        if iterate.iteration == number:
            for each in signals:
                os.kill(os.getpid(), each)
                clock()

    return callback


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_saves_and_ends_the_run(path, number):
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    whole, expected = solve("pendulum", "one-shot", iterations=9)
    first, _ = solve(
        "pendulum",
        "one-shot",
        iterations=9,
        callback=signals_at(4, number, number),
        checkpoint=pint.Checkpoint(path),
    )
    assert (first.status, first.iterations) == (pint.Status.INTERRUPTED, 4)
    assert "checkpoint" in first.status.value
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before
    resumed, controls = resume(path, "pendulum", "one-shot", iterations=9)
    assert_same_run(resumed, whole, controls, expected, 1e-10)


def test_a_later_signal_acts_as_it_did_before(path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def clock():
        now[0] += 1.5

    with pytest.raises(KeyboardInterrupt):
        solve(
            "bounded",
            "one-shot",
            callback=signals_at(2, signal.SIGINT, signal.SIGINT, clock=clock),
            checkpoint=pint.Checkpoint(path),
        )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_checkpoint_signals_do_what_they_always_do():
    with pytest.raises(KeyboardInterrupt):
        solve("bounded", "one-shot", callback=signals_at(2, signal.SIGINT))


def test_outside_the_main_thread_nothing_is_caught(path):
    with ThreadPoolExecutor(1) as pool:
        options = {"iterations": 2, "checkpoint": pint.Checkpoint(path)}
        result, _ = pool.submit(solve, "bounded", "one-shot", **options).result()
    assert result.iterations == 2


# Refused, and nothing overwritten


def refused(path, match, error=ValueError, problem=bounded, method=None, resume=True):
    functional, start = problem(2)
    before = path.read_bytes() if path.is_file() else None
    checkpoint = pint.Checkpoint(path, interval=0, resume=resume)
    with pytest.raises(error, match=match):
        pint.minimize(functional, start, method or pint.OneShot(), checkpoint=checkpoint)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [entry for entry in os.listdir(path.parent) if entry != path.name] == []


def test_a_file_that_is_there_already(path):
    saved(path)
    refused(path, "run.npz exists. Continue its run by `resume=True`", resume=False)


def test_a_file_that_is_not_there(path):
    refused(path, "there is no file .*run.npz", pint.CheckpointError)


@pytest.mark.parametrize("resume", [True, False])
def test_paths_that_cannot_be_used(tmp_path, resume):
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "is a folder", OSError, resume=resume)
    missing = tmp_path / "missing" / "run.npz"
    functional, start = bounded(1)
    with pytest.raises(OSError, match="missing"):
        pint.minimize(functional, start, checkpoint=pint.Checkpoint(missing, resume=resume))


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_that_cannot_be_written(path, resume, monkeypatch):
    if resume:
        saved(path)

    def fail(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    refused(path, "cannot write the checkpoint .*Permission denied", OSError, resume=resume)


def test_truncated_at_every_length(path):
    whole = saved(path)
    for length in {*range(0, len(whole), 41), *range(len(whole) - 200, len(whole))}:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"run\.npz"):
            resume(path)
        assert path.read_bytes() == whole[:length]


def test_damaged_bytes(path):
    """A run goes on as if nothing was wrong, or the file is refused."""
    whole = saved(path)
    result, _ = resume(path, iterations=SAVED)
    random = np.random.default_rng(0)
    for place in random.integers(len(whole), size=80):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            other, _ = resume(path, iterations=SAVED)
        except ValueError as error:
            assert "run.npz" in str(error)
            assert path.read_bytes() == damaged
        else:
            assert other.objective == result.objective


def test_files_of_other_kinds(path):
    bounded(2)[1].save(path)
    refused(path, "no checkpoint")
    path.write_text("not a number", encoding="utf-8")
    refused(path, "not a readable .npz")
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    refused(path, "not a readable .npz")


def on_grid(t, coarsening=4, levels=2, problem=linear_quadratic.DOUBLE_INTEGRATOR, **field):
    def build(_):
        time = pint.TimeGrid(t, coarsening, levels)
        functional = pint.ReducedFunctional(problem.problem(**field), time)
        return functional, functional.controls.zeros()

    return build


T, BOUNDS = grid(2).t, {"lower": -1.0, "upper": 2.0}
HEAVIER = linear_quadratic.LinearQuadratic(
    **{**vars(linear_quadratic.DOUBLE_INTEGRATOR), "Q": 3 * np.eye(2)}
)


@pytest.mark.parametrize(
    ("problem", "method", "message"),
    [
        (on_grid(T**1.1, **BOUNDS), pint.OneShot(), "times"),
        (on_grid(T[:-1], **BOUNDS), pint.OneShot(), "times"),
        (on_grid(T, 3, **BOUNDS), pint.OneShot(), "`coarsening` is .4., here it is .3."),
        (on_grid(T, 4, 3, **BOUNDS), pint.OneShot(), "`coarsening` is .4., here it is .4 4."),
        (on_grid(T), pint.OneShot(), "bounds"),
        (on_grid(T, **BOUNDS, metric="euclidean"), pint.OneShot(), "fields"),
        (on_grid(T, **BOUNDS, every=2), pint.OneShot(), "fields"),
        (pendulum, pint.OneShot(), "fields"),
        (
            on_grid(T, problem=HEAVIER, **BOUNDS),
            pint.OneShot(),
            r"another problem: `stepper\.problem\.Q` differs from",
        ),
        (bounded, pint.Adaptive(), "`solves` is 'FixedCycles', here it is 'Controll"),
        (bounded, pint.OneShot(hessian=pint.lbfgs(3)), "`hessian` is 'memory by size"),
        (bounded, pint.OneShot(hessian=pint.bfgs()), "`hessian` is 'memory by size"),
        (bounded, pint.Lagged(), "`solves` is 'FixedCycles', here it is 'LaggedCycles' .use the"),
    ],
)
def test_other_problems_and_other_solvers(path, problem, method, message):
    saved(path)
    refused(path, message, problem=problem, method=method)


def test_what_lagged_cycles_continue_depends_on_the_correction(path):
    solve("corrected", "lagged", checkpoint=pint.Checkpoint(path), iterations=2)
    refused(path, "LaggedCycles, coarse steps corr", problem=pendulum, method=pint.Lagged())


def test_one_level_is_another_solver(path):
    saved(path, method="sequential")
    refused(path, "coarsening")


def test_a_random_generator_that_was_not_saved(path):
    saved(path)
    checkpoint = pint.Checkpoint(path, resume=True, random=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"random=...\)` of the kind None, not PCG64"):
        solve("bounded", "one-shot", checkpoint=checkpoint)


# The file


def test_a_run_that_cannot_be_saved_keeps_the_last_file(path, monkeypatch):
    before = saved(path)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"run\.npz: No space left on device.*is intact"):
        resume(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["run.npz"]


def test_what_killed_writers_have_left_is_removed(path):
    saved(path)
    others = path.parent / ".pint.other.npz.0.x7"
    others.write_bytes(b"half of")
    leave_a_half(path)
    assert len(os.listdir(path.parent)) == 3
    resume(path, iterations=SAVED)
    assert sorted(os.listdir(path.parent)) == [others.name, path.name]


def test_nothing_is_lost_between_history_and_file(path):
    """NaN is what fixed cycles say of their errors; it is neither zero nor null afterwards."""
    saved(path, "network")
    rows = []
    again = pint.Checkpoint(path, interval=0, resume=True)
    solve(
        "network",
        "one-shot",
        checkpoint=again,
        callback=lambda row, *_: rows.append(row),
        iterations=SAVED + 2,
    )
    resumed, _ = resume(path, "network", iterations=SAVED + 2)
    assert repr(resumed.history[-2:]) == repr(tuple(rows))
    assert np.isnan(resumed.history[-1].objective_error)
