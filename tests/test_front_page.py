"""README: its table is the one that was measured, and its commands and extras are there."""

import importlib
import json
import math
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def program(monkeypatch):
    """Return the benchmark of the table."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("front_page")
    for name in set(sys.modules) - before:
        if (ROOT / "benchmarks" / f"{name}.py").exists():
            del sys.modules[name]


def test_the_table_is_as_measured(program):
    rows = program.measured(ROOT / "benchmarks" / "measured")
    assert len(rows) == len(program.NAMES)
    assert all(re.search(r", \d+ cores, load .*, Python 3", row["machine"]) for row in rows)
    assert program.markdown(rows) in README


def test_the_program_of_the_table(program, tmp_path, capsys, monkeypatch):
    """Run small: both sides agree, or it fails; what is counted is the same on every machine."""
    pytest.importorskip("numba")
    monkeypatch.setattr(program, "mpi_command", lambda: None)
    rows = program.main(["--quick", "--output", str(tmp_path)])
    assert program.markdown(rows) in capsys.readouterr().out
    same = "the same gradient to 1e-9" if program.installed("jax") else ""
    counted = [row["counted"].split(",")[0] for row in rows]
    assert counted == ["4 iterations", same, "4 cycles", ""]
    assert [row["measured"] for row in program.measured(tmp_path)] == [
        row["measured"] for row in rows
    ]
    ratios = [row["faster by"] for row in rows if row["faster by"] != "not installed"]
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in ratios)


@pytest.mark.parametrize(("name", "steps"), [("sequential", [64]), ("1 rank", [64, 4])])
def test_steps_of_an_update(program, name, steps, capsys):
    """Of 32 layers: state and adjoint, each fine step once, and two coarse ones of each."""
    one_shot = program.one_shot_on_two_ranks
    one_shot.main(["--rank-program", name, "0", "20", "32", "3"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["steps"][-1] == steps
    assert printed["objectives"][-1] < printed["objectives"][0]


def test_steps_of_the_table_are_counted(program, monkeypatch):
    """2 (N/P + N/m) of state and adjoint on two ranks, 2N of sequential steps."""
    runs = {
        "sequential": {"steps": [[128], [128]], "seconds": [0.0, 2.0, 4.0]},
        "1 rank": {"steps": [[128, 8], [128, 8]], "seconds": [0.0, 3.0, 6.0]},
        "2 ranks": {"steps": [[64, 4], [64, 4]], "seconds": [0.0, 1.0, 2.0]},
    }
    monkeypatch.setattr(program, "mpi_command", lambda: ("mpiexec", "python"))
    monkeypatch.setattr(program, "on_ranks", lambda command, ranks, *rest: runs[rest[2]])
    row = program.training(20, 64, 3)
    assert row["counted"] == "72 steps one after the other, not 128"
    assert row["faster by"] == pytest.approx(2)
