"""`ode_control.py --method gauss-newton`: the catalogue, its options, keys and pictures."""

import json

import ode_control
import pytest

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
        "--method gauss-newton --checkpoint run.npz",
        "--method gauss-newton --relative-gradient-tolerance 1e-3",
    ],
)
def test_options_without_meaning_are_errors(options, capsys):
    with pytest.raises(SystemExit) as ended:
        run(f"--problem duffing {options}")
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
