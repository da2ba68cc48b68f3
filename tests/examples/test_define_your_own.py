"""The example of a problem of one's own: short, checked, the same optimum by every method."""

import json
from pathlib import Path

import define_your_own
import numpy as np
import pytest
from scipy.optimize import minimize

KEYS = {
    "objective",
    "gradient_norm",
    "iterations",
    "status",
    "control",
    "state_steps",
    "adjoint_steps",
    "seconds",
    "peak_memory",
}


def plain_objective(rate, final_time=10.0):
    """Return J by plain Python."""
    dt, susceptible, infected, cost = final_time / len(rate), 0.9, 0.1, 0.0
    for u in rate:
        new = 3 * susceptible * infected
        susceptible, infected = (
            susceptible + dt * (-new - u * susceptible),
            infected + dt * (new - infected),
        )
        cost += dt * (infected + u**2 / 10)
    return cost


@pytest.mark.parametrize("method", ["sequential", "mgrit", "one-shot"])
def test_optimum_against_a_program_of_its_own(method):
    numbers = define_your_own.main(["--method", method, "--steps", "16"])
    assert set(numbers) == KEYS
    assert numbers["status"] == "converged"
    assert numbers["gradient_norm"] <= 1e-7
    rate = np.array(numbers["control"])[:, 0]
    assert plain_objective(rate) == pytest.approx(numbers["objective"], rel=1e-13)
    independent = minimize(
        plain_objective, np.full(16, 0.3), bounds=[(0, 0.6)] * 16, options={"ftol": 1e-15}
    )
    assert numbers["objective"] == pytest.approx(independent.fun, abs=1e-8)
    assert rate.min() >= 0
    assert rate.max() <= 0.6


def test_files(tmp_path, capsys):
    picture, file = tmp_path / "epidemic.svg", tmp_path / "numbers.json"
    numbers = define_your_own.main(["--steps", "32", "--plot", str(picture), "--json", str(file)])
    assert json.loads(file.read_text()) == numbers
    assert "<svg" in picture.read_text()
    assert f"J = {numbers['objective']:.12g}" in capsys.readouterr().out


def test_the_problem_has_fewer_than_40_lines():
    lines = Path(define_your_own.__file__).read_text(encoding="utf-8").split("\n")
    first, last = (i for i, line in enumerate(lines) if line.startswith("# ----"))
    assert 20 < sum(bool(line.strip()) for line in lines[first + 1 : last]) < 40


def test_a_mistake_is_named(monkeypatch, capsys):
    class WrongSign(define_your_own.EpidemicAdjoint):
        def control_derivative(self, s, y, u, theta, lam):
            return {"rate": s.dt * y[:, :1] * lam[:, :1]}, {}

    monkeypatch.setattr(define_your_own, "EpidemicAdjoint", WrongSign)
    with pytest.raises(SystemExit) as ended:
        define_your_own.main(["--steps", "16"])
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert "WrongSign.control_derivative, level 0, u['rate'], step" in message
    assert "has the wrong sign" in message


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("--steps 0", "--steps"),
        ("--steps 2 --coarsening 4", "--coarsening"),
        ("--json no/such/folder/file.json", "--json"),
        ("--plot plot.xyz", "--plot"),
        ("--method newton", "--method"),
    ],
)
def test_bad_argument(arguments, name, capsys):
    with pytest.raises(SystemExit) as ended:
        define_your_own.main(arguments.split())
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("define_your_own.py: error: ")
    assert message.count("\n") == 1
    assert name in message
