"""Convergence is part of every number: solves that do not meet their tolerance are told."""

import json
import warnings

import numpy as np
import ode_control
import pytest
from ode_cases import forced_problem
from unconverged import advection

import pint
from pint.equations import Cycles, Lagged, March, Relax
from problems.heat import Heat, zero_target

FEW = pint.Accuracy(1, relative=1e-14)


def forced(accuracy=FEW, levels=2, **options):
    grid = pint.TimeGrid.uniform(2.0, 32, levels=levels)
    problem = forced_problem("crank-nicolson")
    return pint.ReducedFunctional(problem, grid, accuracy=accuracy, **options)


def start(functional):
    return functional.control(u=0.1, theta=1.0)


@pytest.fixture
def silent():
    """No warning at all, or the test fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_value_far_from_right_is_told():
    exact = advection(levels=1)
    assert exact.value(exact.control(u=0.1)) == pytest.approx(1.756490930972859)
    functional = advection()
    with pytest.warns(pint.ConvergenceWarning) as told:
        value = functional.value(functional.control(u=0.1))
    assert value > 1e6
    (warning,) = told
    text = str(warning.message)
    assert "state equation did not converge: after 10 cycles the residual norm is 1.48e+07" in text
    assert "at most 1.05e-05" in text and "factor 1.4" in text
    # Where the residual grows, more cycles are no advice.
    assert "more cycles" not in text and "one level" in text
    assert warning.filename == __file__  # the line of the caller


def test_rough_controls_of_the_heat_equation_are_told():
    # Coarse Crank-Nicolson steps do not damp: 25.4 in place of 14.5, after 30 cycles.
    heat = Heat(scheme="crank-nicolson", nu=1e-3, points=127)
    problem, values = heat.problem(zero_target(heat)), np.random.default_rng(0)
    rough = values.standard_normal((256, 127))
    exact = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(64.0, 256))
    right = exact.value(exact.control(u=rough))
    for relaxation, told in (("F", 1), ("FCF", 0)):
        grid = pint.TimeGrid.uniform(64.0, 256, 8, 2)
        functional = pint.ReducedFunctional(problem, grid, relaxation=relaxation)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = functional.value(functional.control(u=rough))
        assert len(caught) == told
        assert (abs(value - right) > 10) if told else value == pytest.approx(right, rel=1e-10)
        worst = functional.solves.worst
        if told:
            text = str(caught[0].message)
            assert "pint.diagnose" in text and f"{worst.residual:.3g}" in text
            assert worst.equation == "state equation" and worst.residual > worst.bound > 0
        else:
            assert worst is None


def test_the_advice_counts_the_cycles_that_are_missing():
    functional = forced(pint.Accuracy(3, relative=1e-12))
    with pytest.warns(pint.ConvergenceWarning, match=r"cycles=\.\.\..*, some (\d+)\)") as told:
        functional.value(start(functional))
    cycles = int(str(told[0].message).partition("some ")[2].partition(")")[0])
    enough = forced(pint.Accuracy(cycles + 3, relative=1e-12), unconverged="error")
    enough.value(start(enough))


def test_one_warning_for_each_functional():
    functional, other = forced(), forced()
    control = start(functional)
    with pytest.warns(pint.ConvergenceWarning) as told:
        for scale in (1.0, 2.0):
            functional.value(scale * control)
            functional.gradient(scale * control)
        other.value(start(other))
    assert len(told) == 2
    assert (functional.solves.asked, functional.solves.converged) == (6, 0)


def test_an_adjoint_that_does_not_converge_is_told():
    functional = forced()
    state, adjoint = functional.state.new(), functional.adjoint.new()
    functional.state.solve(state, start(functional), March())
    with pytest.warns(pint.ConvergenceWarning, match="adjoint equation did not converge"):
        functional.adjoint.solve(adjoint, state, Cycles(FEW))


def test_as_an_error():
    functional = forced(unconverged="error")
    control = start(functional)
    with pytest.raises(
        pint.ConvergenceError, match="state equation did not converge: after 1 cycle the"
    ):
        functional.value(control)
    with pytest.raises(pint.ConvergenceError, match="state"):
        functional.gradient(2 * control)
    with pytest.raises(pint.ConvergenceError, match="state"):
        pint.minimize(functional, control)
    assert issubclass(pint.ConvergenceError, pint.NumericalError)


def test_ignored(silent):
    functional = forced(unconverged="ignore")
    functional.gradient(start(functional))
    assert (functional.solves.asked, functional.solves.converged) == (2, 0)


def test_the_same_numbers_whatever_follows(silent):
    options = [{"unconverged": word} for word in ("warn", "error", "ignore")]
    functionals = [forced(pint.Accuracy(30, relative=1e-12), **more) for more in options]
    values = [each.value(start(each)) for each in functionals]
    assert values[0] == values[1] == values[2]
    assert all(each.solves.converged == each.solves.asked == 1 for each in functionals)


def test_what_has_no_tolerance_to_meet_is_not_counted(silent):
    for functional, how in (
        (forced(), Cycles(pint.Accuracy(2))),
        (forced(), Cycles(FEW, truncated=True)),
        (forced(), Lagged(2)),
        (forced(), March()),
        (forced(levels=1), Cycles(FEW)),
    ):
        state, adjoint = functional.state.new(), functional.adjoint.new()
        functional.state.solve(state, start(functional), how)
        functional.adjoint.solve(adjoint, state, how)
        assert functional.solves.asked == 0
    functional.state.solve(state, start(functional), Relax())


@pytest.mark.parametrize(
    "method",
    [
        pint.OneShot(cycles=2, tolerance=1e-12, iterations=3),
        pint.OneShot(iterations=3),
        pint.Lagged(iterations=3),
        pint.Adaptive(iterations=3),
    ],
)
def test_methods_of_a_few_cycles_are_not_counted(silent, method):
    result = pint.minimize(forced(unconverged="error"), method=method)
    assert (result.solves, result.converged_solves) == (0, 0)


@pytest.mark.filterwarnings("ignore:Newton")  # of trial steps far out
@pytest.mark.parametrize(
    "method",
    [
        pint.ReducedSpace(iterations=4),
        pint.ReducedSpace(iterations=4, accuracy=FEW),
        pint.External("scipy:L-BFGS-B", iterations=4),
    ],
)
def test_a_result_says_how_many_solves_have_converged(method):
    loose = pint.Accuracy(30, relative=1e-6)
    own = getattr(method, "accuracy", None)
    functional = forced(loose if own else FEW)
    with pytest.warns(pint.ConvergenceWarning):
        result = pint.minimize(functional, start(functional), method)
    assert result.solves >= 2 * result.iterations + 2
    assert result.converged_solves < result.solves
    assert f"solves={result.solves}, converged_solves=" in repr(result)
    missed = result.solves - result.converged_solves
    assert f"{missed} of {result.solves} MGRIT solves did not meet" in result.message
    assert "residual norm" in result.message and "tolerance" in result.message
    converged = pint.minimize(
        forced(pint.Accuracy(30, relative=1e-10)),
        method=pint.ReducedSpace(iterations=4, line_search=pint.armijo(), step=1e-3),
    )
    assert converged.converged_solves == converged.solves > 0
    assert "MGRIT" not in converged.message


def test_counts_are_those_of_the_run():
    functional = forced(unconverged="ignore")
    first, second = (
        pint.minimize(functional, method=pint.ReducedSpace(iterations=2)) for _ in range(2)
    )
    assert (first.solves, first.converged_solves) == (second.solves, second.converged_solves)
    last = first.history[-1]
    assert (last.solves, last.converged_solves) == (first.solves, first.converged_solves)


def test_a_resumed_run_counts_on(tmp_path):
    whole, parts = forced(unconverged="ignore"), []
    expected = pint.minimize(whole, method=pint.ReducedSpace(iterations=6))
    for iterations in (3, 6):
        checkpoint = pint.Checkpoint(tmp_path / "run.npz", 0, resume=iterations > 3)
        method = pint.ReducedSpace(iterations=iterations)
        parts.append(
            pint.minimize(forced(unconverged="ignore"), method=method, checkpoint=checkpoint)
        )
    assert (parts[1].solves, parts[1].converged_solves) == (
        expected.solves,
        expected.converged_solves,
    )
    assert parts[0].solves < parts[1].solves


def test_coarse_grids_of_nested_are_treated_alike():
    coarse = pint.TimeGrid.uniform(2.0, 16, levels=2)
    with pytest.raises(pint.ConvergenceError, match="state"):
        functional = forced(unconverged="error")
        pint.minimize(functional, start(functional), pint.Nested([coarse], pint.ReducedSpace()))


def test_a_state_that_is_not_finite_is_another_error(silent):
    functional = forced(unconverged="error")
    control = functional.control(theta=1e200)
    with np.errstate(all="ignore"), pytest.raises(pint.NotFiniteError):
        functional.value(control)


def test_the_word_must_be_known():
    with pytest.raises(ValueError, match=r"`ReducedFunctional\(unconverged=.*got 'raise'"):
        forced(unconverged="raise")


# Programs

PROGRAM = "--problem van-der-pol --method mgrit --cycles 3 --iterations 2"


def test_a_program_warns_in_one_line(capsys, tmp_path):
    path = tmp_path / "numbers.json"
    ode_control.main([*PROGRAM.split(), "--json", str(path)])
    output, errors = capsys.readouterr()
    assert errors.startswith("warning: MGRIT for the state equation") and errors.count("\n") == 1
    numbers = json.loads(path.read_text(encoding="utf-8"))
    assert numbers["converged_solves"] == 0 < numbers["solves"]
    assert f"converged solves    0 of {numbers['solves']}\n" in output


def test_a_program_is_silent_where_all_is_well(capsys):
    ode_control.main(["--method", "mgrit", "--iterations", "2"])
    output, errors = capsys.readouterr()
    assert errors == "" and "converged solves" not in output


@pytest.mark.parametrize("word", ["error", "ignore"])
def test_a_program_with_the_option(capsys, word):
    arguments = [*PROGRAM.split(), "--unconverged", word]
    if word == "ignore":
        ode_control.main(arguments)
        assert capsys.readouterr().err == ""
        return
    with pytest.raises(SystemExit, match="1"):
        ode_control.main(arguments)
    errors = capsys.readouterr().err
    assert errors.startswith("ode_control.py: MGRIT for the state") and errors.count("\n") == 1
