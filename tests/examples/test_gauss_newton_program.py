"""`ode_control.py --method gauss-newton`: the catalogue, its options, keys and pictures."""

import json
import os
import signal

import ode_control
import pytest

import pint
from problems.ode_catalogue import CATALOGUE


def run(text):
    return ode_control.main(text.split())


@pytest.mark.parametrize("name", ["seir", "batch-reactor", "attitude"])
def test_optima_with_files(name, tmp_path):
    files = f"--json {tmp_path}/r.json --plot {tmp_path}/r.png --history {tmp_path}/r.csv"
    found = run(f"--problem {name} --method gauss-newton {files}")
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["fallback"] is False
    assert written["kkt"] <= 1e-8
    assert written["iterations"] == found["iterations"] > 1
    least = CATALOGUE[name].minima
    assert min(abs(written["objective"] - J) / abs(J) for J in least) < 1e-8
    assert (tmp_path / "r.png").stat().st_size > 1000
    assert len((tmp_path / "r.csv").read_text().splitlines()) == found["iterations"] + 2


def test_options():
    exact, other = (
        run(
            f"--problem duffing --steps 40 --scheme midpoint --method gauss-newton --hessian {kind}"
        )
        for kind in ("exact", "gauss-newton")
    )
    assert exact["objective"] == pytest.approx(other["objective"], rel=1e-10)
    limited = run("--problem arm --method gauss-newton --iterations 2")
    assert (limited["iterations"], limited["status"]) == (2, "iteration limit")


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    options = "--problem attitude --steps 20 --method gauss-newton"
    whole = run(options)
    saved = f"{options} --checkpoint {tmp_path}/run.npz"
    assert run(f"{saved} --iterations 2")["status"] == "iteration limit"
    resumed = run(f"{saved} --resume")
    for name in ("objective", "gradient_norm", "iterations", "control", "kkt", "state_steps"):
        assert resumed[name] == whole[name]


def test_a_signal_saves_the_run(tmp_path, monkeypatch, capsys):
    options = "--problem attitude --steps 20 --method gauss-newton --progress"
    whole = run(options)
    shown = pint.Progress.__call__

    def show(self, iterate, control, state):
        shown(self, iterate, control, state)
        if iterate.iteration == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    saved = f"{options} --checkpoint {tmp_path}/run.npz"
    with monkeypatch.context() as patched, pytest.raises(SystemExit) as ended:
        patched.setattr(pint.Progress, "__call__", show)
        run(saved)
    assert ended.value.code == 130
    assert pint.Status.INTERRUPTED.value in capsys.readouterr().out
    assert run(f"{saved} --resume")["objective"] == whole["objective"]


def test_a_file_of_another_method_is_refused(tmp_path, capsys):
    options = f"--problem attitude --steps 20 --checkpoint {tmp_path}/run.npz --iterations 2"
    run(f"{options} --method sequential")
    with pytest.raises(SystemExit) as ended:
        run(f"{options} --method gauss-newton --resume")
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "argument --checkpoint" in error
    assert "use the same method" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("method", ["gauss-newton", "sequential", "one-shot --cycles adaptive"])
def test_constraints_free_time_and_data(method, tmp_path):
    files = f"--json {tmp_path}/r.json --plot {tmp_path}/r.png --history {tmp_path}/r.csv"
    found = run(f"--problem bryson-denham --steps 20 --set l=0.12 --method {method} {files}")
    assert found["objective"] == pytest.approx(4 / (9 * 0.12), rel=2e-2)
    assert max(found["violations"]) < 1e-8
    table = (tmp_path / "r.csv").read_text().splitlines()
    assert table[0].endswith("violations_0,violations_1")
    assert len(table) == found["iterations"] + 2
    found = run(f"--problem time-optimal --steps 10 --set d=2 --method {method} {files}")
    assert found["objective"] == pytest.approx(2 * 2**0.5, abs=1e-7)
    found = run(f"--problem parameter-estimation --method {method} {files}")
    for name, exact in (("k1", 1.5), ("k2", 0.6)):
        assert abs(found["control"][name][0] - exact) < found["standard_errors"][name][0]
    assert (tmp_path / "r.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "options",
    [
        "--hessian exact",
        "--method gauss-newton --optimiser scipy",
        "--method gauss-newton --resume",
        "--method gauss-newton --levels 2 --storage C",
    ],
)
def test_options_without_meaning_are_errors(options, capsys):
    with pytest.raises(SystemExit) as ended:
        run(f"--problem duffing {options}")
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
