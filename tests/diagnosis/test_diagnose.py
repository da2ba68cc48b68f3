"""Diagnoses against theory, against solves, and against what is wrong with a set-up."""

import warnings
from dataclasses import FrozenInstanceError, replace
from functools import partial

import numpy as np
import pytest
from diagnosis_cases import (
    advection_diffusion,
    dahlquist,
    functional,
    heat,
    network,
    oscillator,
)
from unconverged import advection

import pint
from pint.diagnosis.factors import Factor
from pint.diagnosis.setup import Setup
from pint.equations import Cycles, March
from pint.model import CallCost, Costs, suggest
from problems.heat import Heat, zero_target
from problems.ode import PROBLEMS

CASES = {
    "heat": lambda **options: functional(heat(), **options),
    "oscillator": lambda **options: functional(oscillator(), T=20.0, N=128, **options),
    "Pe = 1": lambda **options: functional(advection_diffusion(1), **options),
    "Pe = 10": lambda **options: functional(advection_diffusion(10), **options),
    "Pe = 100": lambda **options: functional(advection_diffusion(100), **options),
}


def on_one_line(found):
    return " ".join(str(found).split())


def made(name, **options):
    if name == "network":
        return network(**options)
    new = CASES[name](**options)
    return new, new.control(u=0.1)


def solved(new, control):
    """Return the residuals of a state and an adjoint solve to the functional's accuracy."""
    state, adjoint = new.state.new(), new.adjoint.new()
    new.state.solve(state, control, Cycles(new.accuracy))
    new.adjoint.solve(adjoint, state, Cycles(new.accuracy))
    return state.convergence.residuals, adjoint.convergence.residuals


@pytest.mark.parametrize("relaxation", ["F", "FCF"])
@pytest.mark.parametrize("name", [*CASES, "network"])
def test_predicted_against_measured(name, relaxation):
    accuracy = pint.Accuracy(40, relative=1e-10)
    new, control = made(name, relaxation=relaxation, accuracy=accuracy)
    found = pint.diagnose(new, control, budget=1e-3, cycles=40, relaxations=[relaxation])
    for predicted, norms in zip((found.state, found.adjoint), solved(new, control), strict=True):
        assert abs(predicted.cycles - len(norms)) <= 1
        above = [norm for norm in norms if norm > predicted.bound]
        factor = (above[-1] / above[0]) ** (1 / (len(above) - 1))
        assert predicted.factor == pytest.approx(factor, rel=0.02)
        for one, other in zip(predicted.norms, above, strict=False):
            assert one == pytest.approx(other, rel=0.1)


@pytest.mark.parametrize("name", CASES)
def test_theory(name):
    """The eigenvalues predict the measured factors, where there is a theory: below the bound."""
    new, control = made(name)
    found = pint.diagnose(new, control, budget=1e-3)
    for one in found.factors:
        if one.theory is None:  # eigenvectors too far from orthogonal
            assert name == "Pe = 100"
            continue
        assert one.value == pytest.approx(one.theory, rel=0.1)
    if name in ("heat", "oscillator"):
        assert all(one.value <= one.bound * (1 + 1e-6) for one in found.factors)


def test_the_bound_of_one_eigenvalue():
    m, N, z = 4, 200, -0.1
    found = pint.diagnose(functional(dahlquist(z * N), N=N, m=m), budget=1e-3)
    a, b = 1 / (1 - z), 1 / (1 - m * z)
    bound = abs(a**m - b) / (1 - b)
    assert {one.relaxation: one.bound for one in found.factors} == {
        "F": pytest.approx(bound, rel=1e-6),
        "FCF": pytest.approx(bound * a**m, rel=1e-6),
    }
    assert all(0.9 * one.bound < one.value <= one.bound for one in found.factors)


def test_steps_that_change_have_no_theory():
    new, control = network()
    found = pint.diagnose(new, control, budget=1e-3)
    assert {one.theory for one in found.factors} == {None}
    unequal = functional(heat(), times=np.linspace(0, 1, 65) ** 1.2)
    assert {one.theory for one in pint.diagnose(unequal, budget=1e-3).factors} == {None}


def test_factors_of_each_level_relaxation_and_equation():
    new = functional(heat(7), N=64, m=[2, 4], levels=3, relaxation=["FCFCF", "F"])
    found = pint.diagnose(new, budget=1e-3)
    assert [(one.level, one.coarsening, one.relaxation, one.equation) for one in found.factors] == [
        (level, m, word, equation)
        for level, m, words in ((0, 2, ("F", "FCF", "FCFCF")), (1, 4, ("F", "FCF")))
        for equation in ("state", "adjoint")
        for word in words
    ]
    assert found.setup == Setup((2, 4), ("FCFCF", "F"))
    with pytest.raises(FrozenInstanceError):
        found.cost = 0


def test_an_oscillator():
    found = pint.diagnose(
        functional(oscillator(), "implicit-midpoint", T=40.0, N=256, m=8), budget=1e-3
    )
    slow = found.slow
    assert slow.cause == "phase"
    assert slow.frequency == pytest.approx(1 / (2 * np.pi), rel=0.1)
    assert slow.fine_growth == pytest.approx(1.0, abs=1e-3)
    assert 'correction="full"' in on_one_line(found)


def test_components_have_their_names():
    sympy = pytest.importorskip("sympy")
    from pint.steppers.symbolic import SympyODE

    x, v, fast, u = sympy.symbols("x v fast u")
    ode = SympyODE(
        [x, v, fast], [-x + u, v * -0.1, -30 * fast + x], {"u": u}, running_cost=x**2 + u**2,
        initial_state=[1.0, 1.0, 0.0],
    )  # fmt: skip
    new = pint.ReducedFunctional(
        ode.problem("crank-nicolson"), pint.TimeGrid.uniform(4.0, 128, 8, 2), relaxation="F"
    )
    slow = pint.diagnose(new, budget=1e-3).slow
    assert slow.name == "fast" and slow.share > 0.9 and slow.cause == "undamped"
    assert "fast" in str(slow)


def test_an_unstable_coarse_step():
    new = functional(dahlquist(-30.0), "rk4", T=2.0, N=64, m=8)
    found = pint.diagnose(new)
    assert found.slow.cause == "unstable" and found.slow.coarse_growth > 2
    assert "implicit-euler" in str(found.recommendation)
    assert not any(np.isnan(one.value) for one in found.factors)


def test_coarse_steps_that_overflow():
    definition = PROBLEMS["van-der-pol"]()
    grid = pint.TimeGrid.uniform(definition.T, 64, 4, 3)
    found = pint.diagnose(
        pint.ReducedFunctional(definition.problem(), grid, relaxation="F"), budget=60
    )
    by_level = {(one.level, one.relaxation, one.equation): one.value for one in found.factors}
    assert by_level[1, "F", "state"] == np.inf and by_level[0, "FCF", "state"] < 1
    assert found.slow.level == 1 and found.slow.cause == "unstable"
    assert found.state.cycles is None and found.trials[0].steps is None
    assert found.recommendation.changes and "nan" not in on_one_line(found)
    assert "does not converge" in on_one_line(found) and "implicit-euler" in on_one_line(found)


def test_coarse_steps_and_corrections_are_tried():
    """An explicit step that is unstable on level 1, and what the set-ups without that do."""
    definition = PROBLEMS["van-der-pol"]()
    grid = pint.TimeGrid.uniform(definition.T, 128, 16, 2)
    new = pint.ReducedFunctional(definition.problem(), grid, relaxation="FCF")
    control = new.control(u=0.1)
    found = pint.diagnose(new, control, tolerance=1e-8)
    assert found.trials[0].steps is None
    by_setup = {trial.setup: trial for trial in found.trials}
    for setup in (
        Setup((8,), ("F",), coarse="sdirk2"),
        Setup((16,), ("F",), coarse="sdirk2", correction="full"),
    ):
        other = setup.functional(new)
        state = other.state.new()
        other.state.solve(
            state, pint.prolong(control, other.controls), Cycles(pint.Accuracy(40, relative=1e-8))
        )
        assert by_setup[setup].state.cycles == pytest.approx(
            len(state.convergence.residuals), abs=1 + 0.3 * len(state.convergence.residuals)
        )
    assert "coarse=sdirk2" in on_one_line(found) and "correction=full" in on_one_line(found)


def test_corrected_coarse_steps():
    """Newton's method for the C-points: to first order there is no error after a cycle."""
    accuracy = pint.Accuracy(relative=1e-10)
    options = {"T": 20.0, "N": 128, "m": 8, "correction": "full", "accuracy": accuracy}
    new = functional(oscillator(), "implicit-midpoint", relaxation="F", **options)
    control = new.control(u=0.1)
    found = pint.diagnose(new, control, budget=1e-3)
    assert found.setup == Setup((8,), ("F",), correction="full")
    assert max(one.value for one in found.factors) < 1e-5
    assert [found.state.cycles, found.adjoint.cycles] == [
        len(norms) for norms in solved(new, control)
    ]
    # A cycle takes two transposes of each step besides its own steps.
    plain = functional(
        oscillator(), "implicit-midpoint", relaxation="F", **{**options, "correction": None}
    )
    cycles = found.trials[0].state.cycles
    assert found.trials[0].steps > 2 * 128 * (cycles + 1)
    assert pint.diagnose(plain, control, budget=1e-3).state.cycles > cycles


def test_set_ups_that_do_not_fit():
    with pytest.raises(ValueError, match=r"`Setup\(coarse='sdirk2'\)` is for steps of"):
        Setup((4,), ("F",), coarse="sdirk2").functional(network()[0])


def test_growing_states():
    found = pint.diagnose(functional(dahlquist(3.0), T=4.0, N=64, m=8, relaxation="F"), budget=1e-3)
    assert found.slow.cause == "growth" and found.slow.fine_growth > 2


def test_the_recommendation_takes_fewer_steps():
    """What it promises is what a gradient takes."""
    new = functional(advection_diffusion(10, 7), N=64, m=[2, 2, 2], levels=4)
    control = new.control(u=0.1)
    found = pint.diagnose(new, control)
    chosen = found.recommendation
    # So few steps are made one after the other. Without a tolerance other cycles are better.
    assert chosen.setup == Setup() and chosen.instead is not None
    counts = []
    for setup in (found.setup, chosen.instead):
        other = setup.functional(new)
        residuals = solved(other, pint.prolong(control, other.controls))
        trial = found.trial(setup)
        assert [trial.state.cycles, trial.adjoint.cycles] == pytest.approx(
            [len(norms) for norms in residuals], abs=1
        )
        solvers = other.state.solver, other.adjoint.solver
        counts.append(sum(sum(solver.steps_evaluated) for solver in solvers))
        assert trial.steps == pytest.approx(counts[-1], rel=0.1)
    assert counts[0] > 1.5 * counts[1]
    assert chosen.gain == pytest.approx(counts[0] / (2 * 64), rel=0.1)


def test_many_steps_are_shared_by_ranks():
    new = functional(
        dahlquist(), "forward-euler", N=512, m=2, accuracy=pint.Accuracy(relative=1e-6)
    )
    found = pint.diagnose(new)
    chosen = found.recommendation
    assert chosen.changes and chosen.setup.levels > 1 and chosen.gain > 1.1
    assert chosen.setup.coarsening[0] > 2 and 1 < chosen.ranks <= 256
    assert f"from about {chosen.ranks} ranks on" in on_one_line(found)


def test_a_good_set_up_is_kept():
    new = functional(
        dahlquist(), "forward-euler", N=512, m=8, accuracy=pint.Accuracy(relative=1e-6)
    )
    found = pint.diagnose(new)
    best = min(trial.steps for trial in found.trials if trial.steps)
    assert found.recommendation.gain <= found.trials[0].steps / best
    again = pint.diagnose(found.recommendation.setup.functional(new))
    assert not again.recommendation.changes and again.recommendation.gain == 1.0


def test_hopeless_cycles_are_advised_against():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pint.diagnose(advection(), budget=60)
    assert found.recommendation.setup == Setup() and found.recommendation.changes
    assert "sequential" in on_one_line(found)
    assert max(one.value for one in found.factors) > 1


def test_the_functional_stays_as_it_is():
    new = functional(heat(), N=32)
    control = new.control(u=0.1)
    before = new.value(control)
    counts, asked = new.state.solver.steps_evaluated, new.solves.asked
    pint.diagnose(new, control, budget=1e-3)
    assert (new.state.solver.steps_evaluated, new.solves.asked) == (counts, asked)
    assert new.value(control) == before


def test_its_cost_is_bounded_and_said():
    new = functional(dahlquist(), "forward-euler", N=128, relaxation="FCF")
    small, large = (pint.diagnose(new, budget=budget) for budget in (1e-3, 1e9))
    assert len(small.trials) == 1 and small.left_out > 5 and large.left_out == 0
    assert small.cost < 300 and f"{small.cost:.0f} sequential solves" in str(small)
    assert f"{small.left_out} more set-ups left out" in str(small)


def test_columns_of_the_table_and_the_picture():
    """Numbers end in one column however long a set-up's name is; the figure is the one given."""
    new = functional(dahlquist(), "forward-euler", N=128, relaxation="FCF")
    found = pint.diagnose(new, budget=1e-3)
    longest = Setup((4, 4, 4), ("FCF", "FCF", "FCF"), "implicit-euler", "full")
    found = replace(found, trials=(*found.trials, replace(found.trials[0], setup=longest)))
    heads, *rows = str(found).split("Tried", 1)[1].splitlines()[1:4]
    assert str(longest) in rows[1]
    assert heads.index("steps/N") + 7 == len(rows[0].rsplit(None, 1)[0].rstrip())
    assert len({len(row) for row in (heads, *rows)}) == 1
    figure = pytest.importorskip("matplotlib.figure").Figure()
    assert pint.diagnosis.picture(found, figure) is figure
    assert figure.axes[2].get_title("right") == "steps of state and adjoint / N"


def test_ranks_to_recommend_for():
    new = functional(
        dahlquist(), "forward-euler", N=256, m=16, accuracy=pint.Accuracy(relative=1e-6)
    )
    alone, many = (pint.diagnose(new, ranks=ranks) for ranks in (1, 64))
    assert alone.recommendation.setup == Setup()
    assert many.recommendation.setup.levels > 1 and many.recommendation.ranks <= 64


def test_one_level_is_an_error():
    with pytest.raises(ValueError, match=r"`diagnose\(functional=...\)` has a grid of one level"):
        pint.diagnose(functional(heat(), levels=1))


def test_states_that_overflow_are_an_error():
    new = functional(dahlquist(1e5), "forward-euler", N=256, m=4)
    with pytest.raises(pint.NotFiniteError, match="level 0"):
        pint.diagnose(new)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tolerance": 2.0}, r"`diagnose\(tolerance=...\)` must be below 1"),
        ({"tolerance": 0.0}, r"`diagnose\(tolerance=...\)`"),
        ({"cycles": 2}, r"`diagnose\(cycles=...\)`"),
        ({"budget": -1}, r"`diagnose\(budget=...\)`"),
        ({"ranks": 0}, r"`diagnose\(ranks=...\)`"),
        ({"relaxations": ["CF"]}, r"`diagnose\(relaxations=...\)`.*got 'CF'"),
        ({"relaxations": None}, r"`diagnose\(relaxations=...\)`.*got None"),
    ],
)
def test_wrong_arguments(options, error):
    with pytest.raises(ValueError, match=error):
        pint.diagnose(functional(heat(), N=32), **options)


@pytest.mark.parametrize(("N", "m"), [(2, 2), (4, 4), (5, 4), (7, 3)])
def test_few_steps(N, m):
    found = pint.diagnose(functional(oscillator(), N=N, m=m), budget=np.inf, relaxations="F")
    assert found.trials[0].steps is not None and "nan" not in repr(found)
    assert found.recommendation.setup == Setup()


def test_what_is_no_functional():
    with pytest.raises(TypeError, match=r"`diagnose\(functional=...\)` must be"):
        pint.diagnose(heat())


def test_the_slowest_cycles_count():
    assert Factor(0, 4, "F", "state", (0.1, 0.5, 0.4)).value == 0.5
    assert Factor(0, 4, "F", "state", ()).value == 0.0


def test_exact_states_of_storage_c():
    pairs = [
        pint.diagnose(functional(heat(7), N=64, m=4, storage=storage), budget=1e-3)
        for storage in ("all", "C")
    ]
    values = [[one.value for one in found.factors] for found in pairs]
    np.testing.assert_allclose(*values, rtol=1e-6)
    assert pairs[0].state.cycles == pairs[1].state.cycles


def test_float32():
    class Single(type(heat(7))):
        pass

    ode = heat(7)
    ode.initial_state = ode.initial_state.astype(np.float32)
    new = functional(ode, N=64)
    state = new.state.new()
    new.state.solve(state, new.control(), March())
    assert state.points.dtype == np.float32
    found = pint.diagnose(new, budget=1e-3)
    expected = pint.diagnose(functional(heat(7), N=64), budget=1e-3)
    for one, other in zip(found.factors, expected.factors, strict=True):
        assert one.value == pytest.approx(other.value, rel=0.05)


def test_suggestions_rank_the_time_to_solution():
    """With free messages and equal steps, what takes fewest steps one after the other is best."""
    new = functional(
        dahlquist(), "forward-euler", N=256, m=16, accuracy=pint.Accuracy(relative=1e-6)
    )
    found = pint.diagnose(new)
    step = [CallCost.linear(0.0, 1e-3)]
    costs = Costs(step, step, latency=0.0, reduction_stage=0.0)
    suggestion = suggest(costs, 256, 16, diagnosis=found)
    configurations = [one.configuration for one in suggestion.considered]
    tried = [trial for trial in found.trials if trial.cycles is not None]
    assert len(configurations) == len(tried) + 1
    for one in configurations:
        if one.levels > 1:
            assert one.cycles == found.trial(Setup(one.coarsening, one.relaxation)).cycles
    seconds = {trial.setup: 2 * trial.cycles * trial.setup.cycle_steps(256, 16) for trial in tried}
    best = suggestion.best.configuration
    assert seconds[Setup(best.coarsening, best.relaxation)] <= 1.1 * min(seconds.values())
    assert "the diagnosis has measured" in str(suggestion)
    with pytest.raises(ValueError, match="N = 256 steps, not of 128"):
        suggest(costs, 128, 16, diagnosis=found)


def test_coarse_levels_on_coarser_meshes():
    """F-relaxation never corrects what the coarse mesh does not see; FCF does."""
    heat_equation = Heat(points=15, nu=0.1)
    data = zero_target(heat_equation)
    problem = heat_equation.problem(data, coarse_data=partial(zero_target, heat_equation))
    grid = pint.TimeGrid.uniform(1.0, 64, 4, 2)
    accuracy = pint.Accuracy(relative=1e-8)
    new = pint.ReducedFunctional(problem, grid, relaxation="FCF", accuracy=accuracy)
    control = new.control(u=np.random.default_rng(0).standard_normal((64, 15)))
    found = pint.diagnose(new, control)
    by_word = {(one.relaxation, one.equation): one for one in found.factors}
    assert by_word["F", "state"].value > 0.9 > 0.5 > by_word["FCF", "state"].value
    assert {one.theory for one in found.factors} == {None}
    assert found.slow.mismatch > 0
    for predicted, norms in zip((found.state, found.adjoint), solved(new, control), strict=True):
        assert abs(predicted.cycles - len(norms)) <= 1
