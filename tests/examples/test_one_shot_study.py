"""The one-shot study: its numbers to equal accuracy, its files, and wrong arguments."""

import csv
import os
from pathlib import Path

import numpy as np
import one_shot_study
import pytest

import pint


def run(arguments):
    return one_shot_study.main(arguments.split())


def test_equal_accuracy(capsys):
    table = run("--problems double-integrator --rules 2,4")
    rows = table["double-integrator"]
    assert list(table) == ["double-integrator"] and list(rows) == ["2", "4"]
    for k, row in rows.items():
        assert row["status"] == "accurate"
        measured = [value for _, value in row["history"]]
        assert measured[0] == pytest.approx(1.0, rel=1e-12)
        assert row["accuracy"] == measured[-1] <= 1e-6 < min(measured[:-1])
        assert len(measured) == row["updates"] + 1
        # k cycles at the first control, at each update, and where the first one goes on.
        solves, rest = divmod(row["adjoint_cycles"], int(k))
        assert (rest, solves > row["updates"]) == (0, True)
        assert row["state_cycles"] == row["adjoint_cycles"]
        assert row["history"][-1][0] == row["cycles"] == 2 * row["adjoint_cycles"]
        assert 20 * row["cycles"] < row["steps"]
        assert row["of_10"] is None
    assert rows["2"]["of_best"] == 1.0
    assert rows["4"]["of_best"] == pytest.approx(rows["4"]["cycles"] / rows["2"]["cycles"])
    printed = capsys.readouterr().out
    assert printed.count("| double-integrator |") == 2


def test_accuracy_is_that_of_the_exact_gradient():
    definition = one_shot_study.DoubleIntegrator()
    posed = one_shot_study.pose_ode(definition, pint.TimeGrid.uniform(1.0, 20, 4, 2))
    goal = one_shot_study.small_gradient(*posed)
    exact, _ = one_shot_study.pose_ode(definition, pint.TimeGrid.uniform(1.0, 20))
    norms = []
    for u in (np.zeros((20, 1)), np.linspace(-1.0, 2.0, 20)[:, None]):
        norms.append(exact.controls.norm(exact.gradient(exact.control(u=u))))
    moved = posed[0].control(u=u)
    assert goal.measure(moved) == pytest.approx(norms[1] / norms[0], rel=1e-12)


def test_goal_of_the_network_is_what_sequential_sweeps_reach(monkeypatch):
    monkeypatch.setattr(one_shot_study, "SEQUENTIAL_UPDATES", 3)
    row = run("--problems peaks --rules 2")["peaks"]["2"]
    posed = one_shot_study.pose_peaks(pint.TimeGrid.uniform(5.0, 32))
    result = pint.minimize(*posed, pint.ReducedSpace(iterations=3))
    assert row["status"] == "accurate"
    assert row["accuracy"] <= result.objective < row["history"][-2][1]


def test_a_rule_that_ends_before_it_is_accurate():
    rows = run("--problems double-integrator,heat --rules 2,10 --updates 3")["heat"]
    for rule, row in rows.items():
        assert row["status"] == "iteration limit" and row["updates"] == 3
        assert row["accuracy"] > 1e-6
        assert row["cycles"] >= 8 * int(rule)
        assert row["of_best"] is None and row["of_10"] is None


def test_coarse_steps_that_are_too_long_give_way_to_sequential_ones():
    row = run("--problems van-der-pol-64 --rules 2 --coarsening 8")["van-der-pol-64"]["2"]
    assert row["status"] == "accurate"


def test_estimates_against_exact_numbers(capsys):
    arguments = "--problems duffing --rules sequential,adaptive,lagged --estimates"
    table = run(f"{arguments} --levels 3 --coarsening 4,2")
    for rule, row in table["duffing"].items():
        found = row["estimates"]
        assert found["status"] == "converged"
        # The gradient is 1e-6 of the first one, which leaves J a millionth above its minimum.
        assert found["exact_objective"] == pytest.approx(0.1872947453092686, rel=1e-5)
        assert not found["worse_than_start"]
        assert found["estimates"] > 0 or rule == "lagged"
        if rule != "sequential":  # whose solves are exact: its errors are of rounding
            assert not found["too_small"] > 0.05 and not found["worst_factor"] > 3
    assert "| duffing | adaptive | converged |" in capsys.readouterr().out


def test_best_rule_and_the_recipe():
    found = {
        "1": {"status": "line search failed", "cycles": 8},
        "4": {"status": "accurate", "cycles": 30},
        "10": {"status": "accurate", "cycles": 60},
        "adaptive": {"status": "accurate", "cycles": 15},
    }
    one_shot_study.compare(found)
    assert [row["of_best"] for row in found.values()] == [None, 1.0, 2.0, 0.5]
    assert [row["of_10"] for row in found.values()] == [None, 0.5, 1.0, 0.25]


def test_files_that_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = run("--problems double-integrator --rules 4,2,4 --csv out.csv --plot out.png")
    with Path("out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == tuple(one_shot_study.COLUMNS)
    assert [row["rule"] for row in rows] == ["4", "2"]
    for row in rows:
        expected = table[row["problem"]][row["rule"]]
        assert int(row["cycles"]) == expected["cycles"]
        assert float(row["accuracy"]) == expected["accuracy"]
        assert row["of_10"] == ""
    assert Path("out.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(os.listdir()) == ["out.csv", "out.png"]


BAD_ARGUMENTS = [
    ("--problems brachistochrone", "--problems"),
    ("--problems heat,", "--problems"),
    ("--rules 0", "--rules"),
    ("--rules 2,often", "--rules"),
    ("--updates 0", "--updates"),
    ("--levels 1", "--levels"),
    ("--problems double-integrator --levels 4", "--problems double-integrator"),
    ("--coarsening 2,2", "--coarsening"),
    ("--relaxation CF", "--relaxation"),
    ("--csv no/such/folder/out.csv", "--csv"),
    ("--plot out.txt", "--plot"),
]


@pytest.mark.parametrize(("arguments", "name"), BAD_ARGUMENTS)
def test_bad_argument(arguments, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("one_shot_study.py: error: ") and message.count("\n") == 1
    assert name in message
    assert not os.listdir()
