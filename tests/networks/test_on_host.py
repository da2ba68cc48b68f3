"""Problems of tensors as problems of arrays: what is for arrays works with them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from modules import made
from strict_space import predators
from tensor_space import DEVICE, tensor_predators

import pint
from pint.torch import on_host

GRID = pint.TimeGrid.uniform(1.0, 12, 3, 2)


@pytest.mark.parametrize(
    "options", [{}, {"batched": False, "in_place": True}, {"dtype": "float32"}]
)
def test_tensors_pass_the_checks(options):
    problem = on_host(tensor_predators(**options))
    report = pint.verify.check_problem(problem, GRID)
    report.require()
    assert not report.not_run


def test_networks_pass_the_checks():
    one, _ = made("gated", device=DEVICE, layers=12)
    pint.verify.check_problem(on_host(one), GRID).require()


def test_a_wrong_transpose_is_found():
    problem = tensor_predators()
    vjp = problem.adjoint.vjp
    problem.adjoint.vjp = lambda s, y, u, theta, lam: (
        1.01 * vjp(s, y, u, theta, lam)[0],
        *vjp(s, y, u, theta, lam)[1:],
    )
    report = pint.verify.check_problem(on_host(problem), GRID)
    wrong = [check for check in report.checks if not check.passed]
    assert any(check.claim == "transpose of Predators.step" for check in wrong)


class Arrival(pint.TerminalConstraint):
    def value(self, y, theta):
        return y[:1] - 1.0

    def vjp(self, y, theta, weight):
        return np.concatenate([weight, 0 * weight]), {}


@pytest.mark.parametrize(
    "method",
    [
        pint.GaussNewton(),
        pint.NewtonCG(iterations=2),
        pint.AugmentedLagrangian(pint.ReducedSpace(iterations=3), [Arrival()], outer_iterations=2),
    ],
)
def test_methods_for_arrays(method):
    found, expected = (
        pint.minimize(
            pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 12)), method=method
        )
        for problem in (on_host(tensor_predators()), predators(array=np.array))
    )
    assert found.objective == pytest.approx(expected.objective, rel=1e-9)
    assert found.iterations == expected.iterations


def test_mistakes_are_one_line():
    with pytest.raises(TypeError, match="must have states in a TorchSpace"):
        on_host(predators(array=np.array))
    with pytest.raises(TypeError, match="must have states of float64 or float32, got bfloat16"):
        on_host(tensor_predators(dtype="bfloat16"))
    with pytest.raises(TypeError, match="are real, got complex"):
        pint.TorchSpace(2).lift(np.ones(2) + 1j)
