"""The example of a problem of one's own: short, checked, the same optimum by every method."""

from pathlib import Path

import define_your_own
import numpy as np
import pytest
from scipy.optimize import minimize

import pint


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


OPTIONS = {"gradient_tolerance": 1e-7, "iterations": 200}
METHODS = {
    "sequential": (1, pint.ReducedSpace(**OPTIONS)),
    "mgrit": (2, define_your_own.MGRIT),
    "one-shot": (2, pint.OneShot(cycles=2, **OPTIONS)),
}


@pytest.mark.parametrize("name", METHODS)
def test_optimum_against_a_program_of_its_own(name, capsys):
    levels, method = METHODS[name]
    result = define_your_own.main(16, levels, method)
    assert result.status is pint.Status.CONVERGED
    assert result.gradient_norm <= 1e-7
    assert f"J = {result.objective:.12g}: {result.status.value}" in capsys.readouterr().out
    rate = result.control["rate"][:, 0]
    assert plain_objective(rate) == pytest.approx(result.objective, rel=1e-13)
    independent = minimize(
        plain_objective, np.full(16, 0.3), bounds=[(0, 0.6)] * 16, options={"ftol": 1e-15}
    )
    assert result.objective == pytest.approx(independent.fun, abs=1e-8)
    assert rate.min() >= 0
    assert rate.max() <= 0.6


def test_the_program_is_short():
    lines = Path(define_your_own.__file__).read_text(encoding="utf-8").split("\n")
    assert sum(bool(line.strip()) for line in lines) < 60


def test_a_mistake_is_named(monkeypatch):
    class WrongSign(define_your_own.EpidemicAdjoint):
        def vjp(self, s, y, u, theta, lam):
            dy, du, dtheta = super().vjp(s, y, u, theta, lam)
            return dy, {"rate": -du["rate"]}, dtheta

    monkeypatch.setattr(define_your_own, "EpidemicAdjoint", WrongSign)
    with pytest.raises(pint.VerificationError, match=r"WrongSign\.vjp.*u\['rate'\]") as raised:
        define_your_own.main(16)
    assert "has the wrong sign" in str(raised.value)
