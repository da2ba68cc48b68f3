"""A stochastic run that is resumed is the uninterrupted one, to the last bit."""

import os
import signal
import warnings

import numpy as np
import pytest
from forgeries import altered, number, to

import pint
from problems.ode import VanDerPol
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

NETWORK = DenseNetwork(features=2, width=4, classes=5)
X, LABELS = generate(23, seed=3)
COLUMNS = ("objective", "gradient_norm", "gradient_error", "state_residual", "step", "state_cycles")


def network(levels=2):
    weights = Regularisation(1e-3, 2e-3, 3e-3)
    grid = pint.TimeGrid.uniform(5.0, 16, 4, levels)
    return pint.ReducedFunctional(NETWORK.problem(X, LABELS, weights, 6), grid, relaxation="F")


def start(functional):
    if functional.problem.examples is None:
        return functional.controls.zeros()
    return NETWORK.random_control(functional.controls, 1)


def size(control):
    """A validation that is least for some control in the middle of a run."""
    return abs(control.space.norm(control) - 4.0)


def van_der_pol():
    grid = pint.TimeGrid.uniform(10.0, 64, 4, 2)
    return pint.ReducedFunctional(VanDerPol().problem(), grid)


CASES = {
    "adam": (network, {"rule": pint.adam(weight_decay=0.1), "learning_rate": 0.05}),
    "cycles that rise": (
        network,
        {
            "rule": pint.adam(),
            "learning_rate": 0.3,
            "cycles": pint.BiasControl(0.02, every=2, most_cycles=3),
        },
    ),
    "sgd": (
        lambda: network(1),
        {
            "rule": pint.sgd(0.8, 0.1),
            "learning_rate": 0.2,
            "schedule": pint.schedules.warm_up(2, pint.schedules.cosine(5)),
            "clip": 0.1,
            "cycles": 1,
        },
    ),
    "validation": (
        network,
        {"rule": pint.adam(), "learning_rate": 0.1, "validation": size, "patience": 2},
    ),
    "no examples": (van_der_pol, {"rule": pint.adam(), "learning_rate": 0.1}),
}


class Killed(BaseException):
    """Not handled anywhere, as if the process ended."""


def run(name, epochs, callback=None, checkpoint=None, **others):
    make, options = CASES[name]
    functional = make()
    method = pint.Stochastic(epochs=epochs, **{**options, **others})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pint.ConvergenceWarning)
        first = start(functional)
        return pint.minimize(functional, first, method, callback=callback, checkpoint=checkpoint)


def killed_at(number):
    def callback(iterate, control, state):
        if iterate.iteration == number:
            raise Killed

    return callback


def assert_same(resumed, whole):
    np.testing.assert_array_equal(resumed.control.vector, whole.control.vector)
    assert resumed.iterations == whole.iterations
    assert (resumed.objective, resumed.status) == (whole.objective, whole.status)
    assert resumed.note == whole.note
    assert len(resumed.history) == len(whole.history)
    for name in COLUMNS:
        both = [[getattr(row, name) for row in each.history] for each in (resumed, whole)]
        np.testing.assert_array_equal(*both, err_msg=name)


@pytest.mark.parametrize(
    ("name", "killed"),
    [("adam", 1), ("no examples", 4), *((name, 10) for name in CASES if name != "no examples")],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, name, killed):
    epochs = 9 if name == "no examples" else 6
    whole = run(name, epochs)
    path = tmp_path / "run.npz"
    with pytest.raises(Killed):
        run(name, epochs, killed_at(killed), pint.Checkpoint(path, interval=0))
    resumed = run(name, epochs, checkpoint=pint.Checkpoint(path, resume=True))
    assert_same(resumed, whole)
    if name == "validation":
        assert whole.status is pint.Status.EARLY_STOPPED
    if name == "cycles that rise":
        assert whole.note


def test_a_finished_run_is_continued_to_more_epochs(tmp_path):
    path = tmp_path / "run.npz"
    run("adam", 2, checkpoint=pint.Checkpoint(path))
    again = run("adam", 2, checkpoint=pint.Checkpoint(path, resume=True))
    assert_same(again, run("adam", 2))
    more = run("adam", 5, checkpoint=pint.Checkpoint(path, resume=True))
    assert_same(more, run("adam", 5))


def test_a_signal_saves_the_run_after_the_update(tmp_path):
    path = tmp_path / "run.npz"

    def callback(iterate, control, state):
        if iterate.iteration == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = run("adam", 4, callback, pint.Checkpoint(path, interval=1e9))
    assert stopped.status is pint.Status.INTERRUPTED
    assert stopped.iterations == 6
    resumed = run("adam", 4, checkpoint=pint.Checkpoint(path, resume=True))
    assert_same(resumed, run("adam", 4))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"rule": pint.sgd()}, "hessian"),
        ({"seed": 3}, "solves"),
        ({"cycles": 2}, "solves"),
    ],
)
def test_other_runs_are_refused(tmp_path, others, message):
    path = tmp_path / "run.npz"
    run("adam", 1, checkpoint=pint.Checkpoint(path))
    before = path.read_bytes()
    with pytest.raises(pint.CheckpointError, match=message):
        run("adam", 2, checkpoint=pint.Checkpoint(path, resume=True), **others)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (to("moment2.weight", lambda a: -1.0 - a), "moment2"),
        (to("control.weight", lambda a: a[:, :2]), "control.weight"),
        (to("validation", lambda a: np.zeros(7)), "validation"),
        (to("previous.weight", lambda a: a + 0.1), "objective"),
        (number(5, "numbers", "updates"), "updates"),
        (number(5, "numbers", "best_updates"), "best_updates"),
        (number(-1, "numbers", "gradients", "cycles"), "cycles"),
        (number(10**9, "numbers", "gradients", "cycles"), "cycles"),
        (number(-1.0, "numbers", "gradients", "size"), "size"),
        (number("no", "numbers", "gradients", "sequential"), "sequential"),
        (number(Ellipsis, "numbers", "gradients"), "gradients"),
    ],
)
def test_files_that_are_wrong_inside_are_refused(tmp_path, change, message):
    path = tmp_path / "run.npz"
    run("adam", 1, checkpoint=pint.Checkpoint(path))
    altered(path, change)
    before = path.read_bytes()
    with pytest.raises(pint.CheckpointError, match=message):
        run("adam", 2, checkpoint=pint.Checkpoint(path, resume=True))
    assert path.read_bytes() == before
