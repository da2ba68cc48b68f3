"""Runs that are interrupted, killed, or cannot be saved: the last checkpoint is there and loads."""

import os
import re
import signal
import sys
import time

import numpy as np
import pytest
from checkpoint_cases import bounded, ending, solve
from programs import ROOT, launcher, run, start, wait, wait_for

import pint

PROGRAM = (sys.executable, str(ROOT / "tests" / "checkpoint_program.py"))
RANKS = 2
LINE = re.compile(r"rank \d: (\w+) after (\d+): \[(.*)\]")


def program(folder, *modes):
    return (*launcher(), *PROGRAM, str(folder), *modes)


def ranks():
    return RANKS if launcher() else 1


def outcome(output):
    """Return status, updates, and numbers of objective and control; alike on all ranks."""
    found = {match.groups() for match in LINE.finditer(output)}
    assert len(LINE.findall(output)) == ranks(), output
    assert len(found) == 1, output
    status, updates, numbers = found.pop()
    return status, int(updates), [float(number) for number in numbers.split(",")]


def started(folder, *modes):
    """Start the program; return it and its process ids once it has saved for the first time."""
    names = [folder / f"rank{rank}" for rank in range(ranks())]
    for name in names:
        name.unlink(missing_ok=True)
    process = start(*program(folder, *modes))
    wait_for(lambda: all(name.exists() for name in names), process)
    wait_for((folder / "run.npz").exists, process)
    return process, [int(name.read_text(encoding="utf-8")) for name in names]


def serial(**options):
    """Return what the program's run ends with, on one rank, in this process."""
    options = {"iterations": 200, "gradient_tolerance": 1e-10, **options}
    result, _ = solve("bounded", "one-shot", **options)
    return ending(result)


@pytest.fixture(scope="module")
def whole():
    return serial()


def check(found, whole):
    assert found[:2] == whole[:2]
    np.testing.assert_allclose(found[2], whole[2], rtol=1e-8)


def check_resumed(folder, whole):
    """Resume what two ranks have left on one."""
    check(serial(checkpoint=pint.Checkpoint(folder / "run.npz", resume=True)), whole)
    assert [name for name in os.listdir(folder) if name.startswith(".pint")] == []


@pytest.mark.parametrize(
    ("rank", "number"), [(0, signal.SIGTERM), (-1, signal.SIGINT)], ids=["first-term", "last-int"]
)
def test_a_signal_to_one_rank_saves_and_ends_all(tmp_path, whole, number, rank):
    process, pids = started(tmp_path)
    os.kill(pids[rank], number)
    os.kill(pids[rank], number)  # as a launcher and a batch system do together
    status, output = wait(process)
    assert status == 0, output
    assert outcome(output)[0] == "INTERRUPTED"
    assert outcome(output)[1] < whole[1]
    check_resumed(tmp_path, whole)


@pytest.mark.slow
def test_kill_at_random_moments(tmp_path, whole):
    """Each time a little further; the run goes on from the last file, and ends where it does."""
    random = np.random.default_rng(0)
    for number in range(3):
        process, pids = started(tmp_path, *["resume"] * (number > 0))
        time.sleep(random.uniform(0.0, 0.15))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        status, output = wait(process)
        assert status != 0, output
        assert not LINE.search(output)
    status, output = run(*program(tmp_path, "resume"))
    assert status == 0, output
    check(outcome(output), whole)
    assert [name for name in os.listdir(tmp_path) if name.startswith(".pint")] == []


def test_gauss_newton_is_killed(tmp_path):
    """With all its ranks; one rank goes on."""
    functional, first = bounded(2)
    whole = pint.minimize(functional, first, pint.GaussNewton())
    process, pids = started(tmp_path, "newton")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    status, output = wait(process)
    assert status != 0, output
    checkpoint = pint.Checkpoint(tmp_path / "run.npz", resume=True)
    resumed = pint.minimize(functional, first, pint.GaussNewton(), checkpoint=checkpoint)
    check(ending(resumed), ending(whole))


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("full", "run.npz: File too large. What was saved there before is intact."),
        ("callback", "the user's mistake"),
        ("history", "No such file or directory"),
    ],
)
def test_a_failure_ends_all_ranks_and_keeps_the_last_file(tmp_path, whole, mode, message):
    status, output = run(*program(tmp_path, mode))
    assert status != 0, output
    assert message in output
    assert not LINE.search(output)
    assert not list(tmp_path.glob(".pint*"))
    check_resumed(tmp_path, whole)


def test_a_file_that_is_no_checkpoint_ends_all_ranks_and_stays(tmp_path):
    content = b"PK of another kind"
    (tmp_path / "run.npz").write_bytes(content)
    status, output = run(*program(tmp_path, "resume"))
    assert status != 0, output
    assert output.count("run.npz is not a readable .npz file") >= 1
    assert (tmp_path / "run.npz").read_bytes() == content
