"""A checkpoint of another problem is refused, and the message says what differs."""

import numpy as np
import pytest
from checkpoint_cases import METHODS

import pint

T = np.linspace(0.0, 1.0, 20)
ALL = {**METHODS, "gauss-newton": (2, pint.GaussNewton)}


class Oscillator(pint.TimeStepper):
    """Forward Euler for ``y_1' = y_2``, ``y_2' = u - stiffness y_1 - friction y_2 + force``."""

    stiffness = 2.0
    initial_state = np.array([1.0, 0.0])

    def __init__(self, friction=0.1, table=(1.0, 2.0)):
        self.friction, self.table, self.force = friction, table, 0.0
        self._scratch, self.calls, self.names = object(), 0, ["a", "b"]

    may_differ = ("calls",)

    def step(self, s, y, u, theta):
        self.calls += 1
        return y + s.dt * np.array([y[1], self.slope(y) + u["u"][0]])

    def slope(self, y):
        return self.force - self.stiffness * y[0] - self.friction * y[1]


class Transposed(pint.Adjoint):
    def __init__(self, stepper):
        self.stepper = stepper

    def vjp(self, s, y, u, theta, lam):
        a, b = lam
        stepper = self.stepper
        dy = [a - s.dt * stepper.stiffness * b, b + s.dt * (a - stepper.friction * b)]
        return np.array(dy), {"u": s.dt * lam[1:]}, {}


class Target(pint.Objective):
    def __init__(self, target=0.5):
        self.target = target

    def terminal(self, y, theta):
        return float((y[0] - self.target) ** 2)

    def terminal_derivative(self, y, theta):
        return np.array([2 * (y[0] - self.target), 0.0]), {}


def functional_of(levels=2, change=None, steps=20, gamma=0.1):
    """Return the functional of a problem whose (stepper, objective) `change` has changed."""
    stepper, objective = Oscillator(), Target()
    if change is not None:
        change(stepper, objective)
    terms = [pint.Tikhonov(gamma, ["u"])]
    parts = (stepper, Transposed(stepper), objective, {"u": pint.TimeControl(1)}, terms)
    grid = pint.TimeGrid.uniform(1.0, steps, 4, levels)
    return pint.ReducedFunctional(pint.Problem(*parts), grid)


def run(path, method, resume=False, **options):
    levels, kind = ALL[method]
    functional = functional_of(levels, **options)
    checkpoint = pint.Checkpoint(path, resume=resume)
    value = kind(iterations=5 if resume else 2, gradient_tolerance=0.0)
    return pint.minimize(functional, None, value, checkpoint=checkpoint)


def set_on(part, name, value):
    def change(stepper, objective):
        setattr({"stepper": stepper, "objective": objective}[part], name, value)

    return change


OTHERS = {
    "friction": (set_on("stepper", "friction", 0.1001), "`stepper.friction`"),
    "a table": (set_on("stepper", "table", (1.0, 2.5)), "problem: `stepper.table` differs from"),
    "a list": (set_on("stepper", "names", ["a", "c"]), "`stepper.names`"),
    "a force": (set_on("stepper", "force", 1e-3), "`stepper.force`"),
    "the target": (set_on("objective", "target", 0.5001), "`objective.target` differs from"),
    "an attribute more": (set_on("objective", "weight", 1.0), "`objective.weight` differs from"),
}


@pytest.mark.parametrize("method", ["sequential", "one-shot", "gauss-newton"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_content_is_named(tmp_path, method, name):
    change, message = OTHERS[name]
    run(tmp_path / "run.npz", method)
    before = (tmp_path / "run.npz").read_bytes()
    with pytest.raises(pint.CheckpointError, match=message) as error:
        run(tmp_path / "run.npz", method, resume=True, change=change)
    assert "\n" not in str(error.value)
    assert (tmp_path / "run.npz").read_bytes() == before


def test_another_regulariser_is_named(tmp_path):
    run(tmp_path / "run.npz", "one-shot")
    with pytest.raises(pint.CheckpointError, match=r"`regularisers\[0\]\.gamma` differs"):
        run(tmp_path / "run.npz", "one-shot", resume=True, gamma=0.2)


def test_a_constant_of_the_class_is_named(tmp_path, monkeypatch):
    run(tmp_path / "run.npz", "one-shot")
    monkeypatch.setattr(Oscillator, "stiffness", 2.0001)
    with pytest.raises(pint.CheckpointError, match=r"`stepper\.stiffness` differs from"):
        run(tmp_path / "run.npz", "one-shot", resume=True)


def test_what_may_differ_and_what_is_hidden_does_not_count(tmp_path):
    def change(stepper, objective):
        stepper.calls, stepper._scratch, stepper.batched = 1000, object(), False

    run(tmp_path / "run.npz", "one-shot")
    assert run(tmp_path / "run.npz", "one-shot", resume=True, change=change).iterations == 5


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("shift", [1e-3, -0.5])
def test_another_step_is_found_though_its_content_is_the_same(tmp_path, monkeypatch, method, shift):
    """Neither the last state, which is a C-point, nor the derivatives of the step tell it."""
    run(tmp_path / "run.npz", method)
    slope = Oscillator.slope
    monkeypatch.setattr(Oscillator, "slope", lambda self, y: slope(self, y) + shift)
    with pytest.raises(pint.CheckpointError, match="belongs to another problem: its"):
        run(tmp_path / "run.npz", method, resume=True)


@pytest.mark.parametrize("method", [name for name in ALL if name != "three-levels"])
def test_another_adjoint_is_found_though_its_content_is_the_same(tmp_path, monkeypatch, method):
    run(tmp_path / "run.npz", method)
    vjp = Transposed.vjp

    def doubled(self, s, y, u, theta, lam):
        dy, du, dtheta = vjp(self, s, y, u, theta, lam)
        return dy, {"u": 1.001 * du["u"]}, dtheta

    monkeypatch.setattr(Transposed, "vjp", doubled)
    with pytest.raises(pint.CheckpointError, match=r"its (gradient norm|KKT residual) is"):
        run(tmp_path / "run.npz", method, resume=True)


@pytest.mark.parametrize("kind", [pint.OneShot, pint.GaussNewton])
def test_numbers_without_an_axis_are_saved_and_loaded(tmp_path, kind):
    class Decay(pint.TimeStepper):
        initial_state = np.zeros(1)

        def step(self, s, y, u, theta):
            return y + s.dt * (u["u"] - theta["k"] * y)

    class Distance(pint.Objective):
        def terminal(self, y, theta):
            return float((y[0] - 1.0) ** 2)

        def terminal_derivative(self, y, theta):
            return 2.0 * (y - 1.0), {}

    fields = {"u": pint.TimeControl(()), "k": pint.SharedControl(())}
    problem = pint.Problem(Decay(), None, Distance(), fields, [pint.Tikhonov(0.1, ["u", "k"])])
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 8, 2, 2))
    start = functional.control(u=np.arange(8.0), k=0.5)
    start.save(tmp_path / "start.npz")
    np.testing.assert_array_equal(
        functional.controls.load(tmp_path / "start.npz").vector, start.vector
    )
    whole = pint.minimize(functional, start, kind(iterations=4, gradient_tolerance=0.0))
    for iterations in (2, 4):
        checkpoint = pint.Checkpoint(tmp_path / "run.npz", resume=iterations == 4)
        method = kind(iterations=iterations, gradient_tolerance=0.0)
        result = pint.minimize(functional, start, method, checkpoint=checkpoint)
    assert result.objective == pytest.approx(whole.objective, rel=1e-12)
