"""A dense network trained by an independent program: its history, row by row."""

import json
from pathlib import Path

import numpy as np
import peaks_halton
import pytest

import pint
from pint.equations import March
from problems.classification import accuracy
from problems.resnet import DenseNetwork, Regularisation

DATA = Path(__file__).parents[1] / "data"
REFERENCE = json.loads((DATA / "layer_parallel_case_a.json").read_text())
LAYERS, FINAL_TIME = REFERENCE["N"], REFERENCE["final_time"]
NETWORK = DenseNetwork(2, 8, 5, bias="scalar")
TRAINING, VALIDATION = peaks_halton.data(500), peaks_halton.data(200, skip=520)


def initial_values():
    """Return the fields of `initial_design`, whose layout the file describes."""
    design = iter(REFERENCE["initial_design"])

    def take(*shape):
        return np.array([next(design) for _ in range(int(np.prod(shape)))]).reshape(shape)

    values = {"opening_weight": take(8, 2), "opening_bias": take(1)}
    layers = [(take(8, 8), take(1)) for _ in range(LAYERS)]
    values["weight"] = np.array([weight for weight, _ in layers])
    values["bias"] = np.array([bias for _, bias in layers])
    values["classification_weight"], values["classification_bias"] = take(5, 8), take(5)
    assert next(design, None) is None
    return values


def start(levels=1, coarsening=2, **options):
    grid = pint.TimeGrid.uniform(FINAL_TIME, LAYERS, coarsening=coarsening, levels=levels)
    # The regularisers of the reference are plain sums; here those over time are weighted by dt.
    dt = FINAL_TIME / LAYERS
    weights = Regularisation(
        tikhonov=REFERENCE["gamma_tikhonov"] / dt,
        opening=REFERENCE["gamma_tikhonov"],
        classification=REFERENCE["gamma_classification"],
        smooth=REFERENCE["gamma_smooth"] / dt,
    )
    problem = NETWORK.problem(*TRAINING, weights, metric="euclidean")
    functional = pint.ReducedFunctional(problem, grid, **options)
    return functional, functional.control(**initial_values())


@pytest.fixture(scope="module")
def sequential():
    """Return the history and the accuracies on training and validation data."""
    functional, control = start()
    problem = NETWORK.problem(*VALIDATION, metric="euclidean")
    validating = pint.ReducedFunctional(problem, functional.grid)
    other, accuracies = validating.state.new(), []

    def callback(iterate, control, state):
        validating.state.solve(other, control, March())
        accuracies.append(
            (
                accuracy(state.points[-1], control.shared, TRAINING[1].T),
                accuracy(other.points[-1], control.shared, VALIDATION[1].T),
            )
        )

    method = pint.ReducedSpace(iterations=15, line_search=pint.armijo())
    result = pint.minimize(functional, control, method, callback=callback)
    return result, accuracies


@pytest.mark.parametrize("row", range(16))
def test_sequential_history(sequential, row):
    result, accuracies = sequential
    assert len(result.history) == len(REFERENCE["sequential"]) == 16
    iterate, expected = result.history[row], REFERENCE["sequential"][row]
    assert iterate.iteration == expected["iteration"] == row
    assert iterate.objective == pytest.approx(expected["objective"], rel=1e-10)
    assert iterate.cost == pytest.approx(expected["loss"], rel=1e-10)
    assert iterate.gradient_norm == pytest.approx(expected["gradient_norm"], rel=1e-10)
    assert iterate.step == expected["step"]
    assert iterate.line_search_trials == expected["line_search"]
    assert accuracies[row] == pytest.approx(
        (expected["train_accuracy"], expected["validation_accuracy"]), rel=1e-12
    )


def test_result_is_the_last_row(sequential):
    result, _ = sequential
    assert result.status is pint.Status.ITERATION_LIMIT
    assert result.iterations == 15
    assert result.objective == result.history[-1].objective
    assert result.gradient_norm == pytest.approx(result.history[-1].gradient_norm, rel=1e-13)


def test_first_row_with_two_mgrit_cycles():
    reference = REFERENCE["mgrit"]
    functional, control = start(
        reference["levels"],
        reference["coarsening_factor"],
        relaxation=reference["relaxation"],
        guess="zero",
    )
    method = pint.OneShot(reference["cycles_per_solve"], iterations=0)
    result = pint.minimize(functional, control, method)
    iterate, expected = result.history[0], reference["rows"][0]
    assert iterate.state_residual == pytest.approx(expected["state_residual"], rel=1e-8)
    assert iterate.adjoint_residual == pytest.approx(expected["adjoint_residual"], rel=1e-8)
    assert iterate.objective == pytest.approx(expected["objective"], rel=1e-8)
    assert iterate.cost == pytest.approx(expected["loss"], rel=1e-8)


@pytest.mark.parametrize(
    ("levels", "coarsening", "relaxation"),
    [(2, 4, "FCF"), (2, 4, "F"), (3, 2, "FCF"), (4, 2, "FCF"), (3, 4, "FCFCF")],
)
def test_gradient_of_twelve_cycles_is_the_sequential_one(levels, coarsening, relaxation):
    exact, control = start()
    expected = exact.gradient(control)
    functional, control = start(
        levels, coarsening, relaxation=relaxation, accuracy=pint.Accuracy(cycles=12)
    )
    gradient = functional.gradient(control)
    error = functional.controls.norm(gradient - functional.control(**expected.gather()))
    assert error <= 1e-9 * functional.controls.norm(gradient)
