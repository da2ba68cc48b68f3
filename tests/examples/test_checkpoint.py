"""Adaptive cycles, checkpoints, histories and progress: the same options in all programs."""

import csv
import os
import signal
from pathlib import Path

import heat_control
import numpy as np
import ode_control
import pytest
import train_resnet

import pint

PROGRAMS = {
    train_resnet: "--layers 16 --examples 20 --gradient-tolerance 0 --quiet",
    ode_control: "--problem fishing --steps 24",
    heat_control: "--points 7 --steps 16 --target manufactured",
}
every_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
SAVED = "--method one-shot --checkpoint run.npz --checkpoint-interval 0 "


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(program, options):
    return program.main([*PROGRAMS[program].split(), *options.split()])


def rows():
    with open("history.csv", newline="") as file:
        table = list(csv.DictReader(file))
    timed = {name for name in table[0] if name.startswith("phases")} | {"seconds"}
    numbers = {name: [float(row[name]) for row in table] for name in table[0].keys() - timed}
    return dict(sorted(numbers.items()))


def wrong(program, options, capsys):
    """Return the message of a run that ends with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        run(program, options)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"{program.__name__}.py: error: argument ")
    assert message.count("\n") == 1
    return message


def test_adaptive_cycles_give_the_optimum():
    exact = run(heat_control, "--method sequential")
    adaptive = run(heat_control, "--method one-shot --cycles adaptive")
    assert adaptive["status"] == "converged"
    assert adaptive["objective"] == pytest.approx(exact["objective"], rel=1e-10)


@every_program
@pytest.mark.parametrize("cycles", ["2", "adaptive"])
def test_a_resumed_run_has_the_numbers_and_the_history_of_an_uninterrupted_one(program, cycles):
    options = f"--history history.csv --cycles {cycles} "
    expected = run(program, f"--method one-shot --iterations 7 {options}")
    expected_rows = rows()
    Path("history.csv").unlink()
    run(program, f"{SAVED} --iterations 3 {options}")
    resumed = run(program, f"{SAVED} --iterations 7 {options} --resume")
    for name in ("objective", "gradient_norm", "iterations"):
        assert resumed[name] == pytest.approx(expected[name], rel=1e-9), name
    found = rows()
    assert found.keys() == expected_rows.keys()
    for name in found.keys() & {"iteration", "objective", "gradient_norm", "train_accuracy"}:
        np.testing.assert_allclose(found[name], expected_rows[name], rtol=1e-9, err_msg=name)
    assert found["iteration"] == list(range(8))


@every_program
def test_a_signal_saves_the_run_and_ends_it_with_a_summary(program, monkeypatch, capsys):
    kind = train_resnet.Progress if program is train_resnet else pint.Progress
    shown = kind.__call__

    def show(self, iterate, control, state):
        shown(self, iterate, control, state)
        if iterate.iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    options = "" if program is train_resnet else "--progress"
    options += " --method one-shot --checkpoint run.npz --history history.csv --iterations 5"
    with monkeypatch.context() as patched, pytest.raises(SystemExit) as ended:
        patched.setattr(kind, "__call__", show)
        run(program, options)
    assert ended.value.code == 130
    assert pint.Status.INTERRUPTED.value in capsys.readouterr().out
    assert rows()["iteration"] == [0, 1, 2]
    assert run(program, f"{options} --resume")["iterations"] == 5
    assert rows()["iteration"] == [0, 1, 2, 3, 4, 5]


def test_rows_beyond_the_checkpoint_are_replaced():
    run(train_resnet, f"{SAVED} --iterations 3")
    run(train_resnet, "--method one-shot --iterations 6 --history history.csv")
    expected = rows()
    run(train_resnet, f"{SAVED} --iterations 5 --history history.csv --resume")
    assert rows()["iteration"] == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(rows()["objective"], expected["objective"][:6], rtol=1e-9)
    Path("history.csv").unlink()
    run(train_resnet, f"{SAVED} --iterations 6 --history history.csv --resume")
    assert rows()["iteration"] == [6]


def test_a_killed_run_leaves_no_gap_in_its_history(monkeypatch):
    shown = train_resnet.Progress.__call__

    def show(self, iterate, control, state):
        shown(self, iterate, control, state)
        if iterate.iteration == 3:
            raise KeyboardInterrupt

    options = f"{SAVED} --iterations 5 --history history.csv"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(train_resnet.Progress, "__call__", show)
        run(train_resnet, options)
    assert rows()["iteration"] == [0, 1, 2, 3]
    run(train_resnet, f"{options} --resume")
    assert rows()["iteration"] == [0, 1, 2, 3, 4, 5]


def test_a_file_that_is_no_history_is_not_gone_on_with(capsys):
    run(train_resnet, f"{SAVED} --iterations 1")
    for text in ("", "iteration,objective\n0,1\n", "words"):
        Path("history.csv").write_text(text)
        message = wrong(train_resnet, f"{SAVED} --history history.csv --resume", capsys)
        assert "argument --history: 'history.csv'" in message
        assert Path("history.csv").read_text() == text


@pytest.mark.parametrize("program", [ode_control, heat_control], ids=["ode", "heat"])
@pytest.mark.parametrize("optimiser", ["lbfgs", "scipy"])
def test_history_and_progress(program, optimiser, capsys):
    options = f"--optimiser {optimiser} --history history.csv --progress --iterations 4"
    result = run(program, options)
    assert rows()["iteration"][-1] == result["iterations"] == 4
    assert rows()["gradient_norm"][0] > rows()["gradient_norm"][-1]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("iteration 0/4")
    assert lines[-1].startswith("iteration 4/4")


WRONG_OPTIONS = [
    ("--method mgrit --cycles adaptive", "--cycles"),
    ("--cycles many", "--cycles"),
    ("--resume", "--resume"),
    ("--checkpoint missing.npz --resume", "--resume"),
    ("--checkpoint no/such/folder/run.npz", "--checkpoint"),
    ("--checkpoint .", "--checkpoint"),
    ("--checkpoint run.npz", "--checkpoint"),
    ("--checkpoint truncated.npz --resume", "--checkpoint"),
    ("--checkpoint arrays.npz --resume", "--checkpoint"),
    ("--method one-shot --checkpoint run.npz --resume", "same method"),
    ("--method sequential --checkpoint run.npz --resume", "--checkpoint"),
    ("--checkpoint new.npz --checkpoint-interval -1", "--checkpoint-interval"),
    ("--history no/such/folder/history.csv", "--history"),
]
# The programs share rules and options: one program after the other.
IN_TURN = [
    (list(PROGRAMS)[i % len(PROGRAMS)], *wrong_options)
    for i, wrong_options in enumerate(WRONG_OPTIONS)
]


@pytest.mark.parametrize(
    ("program", "options", "name"),
    [
        *IN_TURN,
        *((program, *WRONG_OPTIONS[9]) for program in PROGRAMS if program is not IN_TURN[9][0]),
    ],
)
def test_wrong_options_change_no_file(program, options, name, capsys):
    run(program, f"{SAVED} --iterations 1 --cycles adaptive")
    Path("truncated.npz").write_bytes(Path("run.npz").read_bytes()[:-100])
    np.savez("arrays.npz", control=np.ones(3))
    before = {path: path.read_bytes() for path in Path().iterdir()}
    capsys.readouterr()
    assert name in wrong(program, options, capsys)
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize("program", [ode_control, heat_control], ids=["ode", "heat"])
def test_options_that_exclude_each_other(program, capsys):
    message = wrong(program, "--optimiser scipy --checkpoint run.npz", capsys)
    assert "argument --checkpoint: needs --optimiser lbfgs" in message
    message = wrong(train_resnet, "--cycles adaptive --tolerance 1e-6", capsys)
    assert "argument --tolerance" in message
