"""Runs of Gauss-Newton that are resumed are uninterrupted ones, to the last bit."""

import os
import signal
from functools import cache

import numpy as np
import pytest
import sympy
from checkpoint_cases import bounded
from forgeries import NAN, NUMBERS, altered, cell, entry, number, to, without

import pint
from pint.optimise.gauss_newton import iteration
from pint.steppers.symbolic import SympyODE
from problems.ode_catalogue import CATALOGUE


class Killed(BaseException):
    """Not handled anywhere, as if the process ended."""


@cache
def problem_of(name):
    """Return the problem, its final time and its start."""
    one = CATALOGUE[name]
    return one.problem("rk4"), one.final_time, one.start


def catalogue(name, steps):
    problem, final_time, start = problem_of(name)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(final_time, steps))
    return functional, start(functional.controls)


@cache
def decaying(weight, bounds):
    y, rate, source, u = sympy.symbols("y rate source u")
    ode = SympyODE(
        [y], [u - rate * y**2], {"u": u}, parameters={"rate": rate, "source": source},
        running_cost=(y - 1) ** 2 + weight * u**2 / 10, initial_state=[2 + source],
        terminal_cost=(rate - 2) ** 2 + source**4 + (y - sympy.Rational(1, 5)) ** 2,
    )  # fmt: skip
    return ode.problem("rk4", controls=dict(bounds))


def decay(bounds, weight=1.0):
    """Return a problem whose initial state and steps have shared parameters."""
    problem = decaying(weight, tuple(bounds.items()))
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(2.0, 16))
    return functional, functional.control(u=0.5, rate=0.4, source=0.3)


BOUNDS = {"rate": (0.0, 1.5), "u": (-0.3, 5.0)}
PROBLEMS = {
    "attitude": lambda: catalogue("attitude", 20),
    "seir": lambda: catalogue("seir", 12),
    "free": lambda: decay({}),
    "bounds": lambda: decay(BOUNDS),
    "one bound": lambda: decay({"u": (-0.3, np.inf)}),
}


def solve(problem, checkpoint=None, callback=None, other=False, **options):
    functional, start = PROBLEMS[problem]()
    start = functional.controls.zeros() if other else start
    method = pint.GaussNewton(**{"iterations": 40, **options})
    return pint.minimize(functional, start, method, callback=callback, checkpoint=checkpoint)


def killed_at(number):
    def callback(iterate, control, state):
        if iterate.iteration == number:
            raise Killed

    return callback


def saved(path, problem="bounds", after=3, **options):
    """Save a run that was killed after some iterations; return the file's bytes."""
    with pytest.raises(Killed):
        solve(problem, pint.Checkpoint(path, 0), killed_at(after + 1), **options)
    return path.read_bytes()


def resume(path, problem="bounds", **options):
    return solve(problem, pint.Checkpoint(path, 0, resume=True), **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


def numbers_of(row):
    """Return all numbers of a row but the wall times."""
    return repr({k: v for k, v in vars(row).items() if k not in ("phases", "seconds")})


def assert_equal(resumed, whole, first=0):
    """Compare all numbers to the last bit."""
    assert (resumed.status, resumed.iterations) == (whole.status, whole.iterations)
    assert list(map(numbers_of, resumed.history)) == list(map(numbers_of, whole.history))
    seconds = [row.seconds for row in resumed.history]
    assert seconds == sorted(seconds)
    assert resumed.objective == whole.objective
    assert resumed.gradient_norm == whole.gradient_norm
    np.testing.assert_array_equal(resumed.control.vector, whole.control.vector)
    np.testing.assert_array_equal(resumed.states(), whole.states())
    one, other = resumed.all_at_once, whole.all_at_once
    assert (one.kkt, one.minimum, one.fallback) == (other.kkt, other.minimum, other.fallback)
    np.testing.assert_array_equal(one.gains, other.gains)
    np.testing.assert_array_equal(one.multipliers, other.multipliers)
    np.testing.assert_array_equal(one.active.vector, other.active.vector)


def shown(iterates, until=None):
    """Return a callback that keeps control and states of each iterate, and kills the run."""

    def callback(iterate, control, state):
        if iterate.iteration == until:
            raise Killed
        iterates.append((iterate.iteration, *control.vector, *np.ravel(state.points)))

    return callback


def in_pieces(path, problem, **options):
    """Return a run that is killed after each iteration, and the iterates that it has shown."""
    iterates = []
    for piece in range(41):
        checkpoint = pint.Checkpoint(path, 0, resume=piece > 0)
        callback = shown(iterates, piece + 1)
        try:
            return solve(problem, checkpoint, callback, piece > 0, **options), iterates
        except Killed:
            pass
    pytest.fail("no end")


@pytest.mark.parametrize("hessian", ["exact", "gauss-newton"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_killed_after_each_iteration(path, problem, hessian):
    """Later pieces are given another first control, which does not count."""
    iterates = []
    whole = solve(problem, callback=shown(iterates), hessian=hessian)
    assert whole.iterations > 3
    resumed, found = in_pieces(path, problem, hessian=hessian)
    assert_equal(resumed, whole)
    assert found == iterates


def test_states_that_are_made_anew(path, monkeypatch):
    """Of the first control, the one that the file has."""
    monkeypatch.setattr(iteration, "PATIENCE", 2)
    whole = solve("seir", iterations=12)
    resumed, _ = in_pieces(path, "seir", iterations=12)
    assert_equal(resumed, whole)


def stuck(monkeypatch):
    """Let no step be found after a few evaluations."""
    searched = iteration.Iteration._searched

    def few(self, *arguments):
        return None if self.evaluations >= 3 else searched(self, *arguments)

    monkeypatch.setattr(iteration.Iteration, "_searched", few)


def test_lbfgs_that_goes_on(path, monkeypatch):
    """Its iterations are not saved: a resumed run begins with the first of them."""
    stuck(monkeypatch)
    whole = solve("bounds", iterations=12)
    assert whole.all_at_once.fallback
    newton = len(whole.history) - 1

    def callback(iterate, control, state):
        rows.append(iterate.iteration)
        if len(rows) == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    rows = []
    first = solve("bounds", pint.Checkpoint(path), callback, iterations=12)
    assert (first.status, len(first.history) < newton) == (pint.Status.INTERRUPTED, True)
    assert first.all_at_once.fallback
    assert_equal(resume(path, iterations=12), whole)


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_the_run(path, number, after):
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    whole = solve("bounds")

    def callback(iterate, control, state):
        if iterate.iteration == after:
            os.kill(os.getpid(), number)

    first = solve("bounds", pint.Checkpoint(path), callback)
    assert (first.status, first.iterations) == (pint.Status.INTERRUPTED, after)
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before
    assert_equal(resume(path), whole)
    with pytest.raises(KeyboardInterrupt):
        solve("bounds", callback=lambda *_: os.kill(os.getpid(), signal.SIGINT))


def test_limits_that_are_raised(path):
    whole = solve("seir")
    first = solve("seir", pint.Checkpoint(path), iterations=4)
    assert first.status is pint.Status.ITERATION_LIMIT
    written = path.stat().st_mtime_ns
    assert_equal(resume(path, "seir", iterations=4), first)
    assert path.stat().st_mtime_ns == written
    more = resume(path, "seir", evaluations=9)
    assert more.status is pint.Status.EVALUATION_LIMIT
    assert more.iterations < whole.iterations
    assert_equal(resume(path, "seir"), whole)
    again = resume(path, "seir")  # which has converged
    assert_equal(again, whole)
    looser = resume(path, "seir", gradient_tolerance=1e-3)
    assert (looser.status, looser.iterations) == (pint.Status.CONVERGED, whole.iterations)


# Refused, and nothing overwritten


def refused(path, match, functional=None, start=None, method=None):
    before = path.read_bytes()
    functional = functional or PROBLEMS["bounds"]()[0]
    checkpoint = pint.Checkpoint(path, 0, resume=True)
    with pytest.raises(pint.CheckpointError, match=match) as error:
        pint.minimize(functional, start, method or pint.GaussNewton(), checkpoint=checkpoint)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("saved") / "run.npz")


FORGED = {
    **{
        f"no {name}": (without(name), f"`{name}`")
        for name in (
            "run", "history", "control.u", "start.rate", "y", "lam", "gains", "typical", "filter",
            "lower_distance.u", "upper_multiplier.rate", "times",
        )
    },
    "an unknown entry": (lambda arrays: arrays.update(products=np.ones(3)), "unknown entry `prod"),
    **{
        f"{name} {value}": (number(value, *NUMBERS, name), f"`{name}` must be {rule}")
        for name, rule, values in (
            ("mu", "finite and not", (NAN, -1.0, "1", None)),
            ("unit", "positive", (NAN, 0.0, -1.0)),
            ("weight", "finite and not", (NAN, -1.0)),
            ("worst", "finite and not", (NAN, -1.0)),
            ("step", "positive", (NAN, 0.0, True)),
            *((name, "an integer", (-1, 0.5, NAN, "1", 10**18)) for name in
              ("since", "rejected", "evaluations", "restarts", "polished")),
        )
        for value in values
    },
    "mu 0": (number(0.0, *NUMBERS, "mu"), "`mu` is 0, which does not fit"),
    "unit tiny": (number(1e-300, *NUMBERS, "unit"), "`mu` is .* does not fit other numbers"),
    **{
        f"{name} of another run": (number(value, *NUMBERS, name), f"`{name}` is {value}, which")
        for name, value in (("step", 0.123), ("rejected", 7), ("since", 9), ("polished", 4),
                            ("evaluations", 2))
    },
    "a start outside": (entry("start.rate", 3.0), "`start` does not fit control or bounds"),
    "no mu": (number(..., *NUMBERS, "mu"), "`run` must have"),
    "scaling": (number(1.0, "scaling"), "`run` must have numbers, random"),
    "most 0": (number(0.0, *NUMBERS, "filter", "most"), "`filter.most` must be positive"),
    "least NaN": (number(NAN, *NUMBERS, "filter", "least"), "`filter.least` must be positive"),
    "no least": (number(..., *NUMBERS, "filter", "least"), "`filter` must have"),
    **{
        f"{name} {what}": (change, f"`{name}`.*{message}")
        for name in ("y", "lam", "gains", "typical", "control.u", "start.u", "lower_distance.u",
                     "upper_multiplier.rate")
        for what, change, message in (
            ("NaN", entry(name, NAN), "contains NaN or infinity"),
            ("cut", to(name, lambda values: values[..., :-1]), "must be float64 of shape"),
            ("complex", to(name, lambda values: values * 1j), "must be float64 of shape"),
            ("single", to(name, np.float32), "must be float64 of shape"),
            ("text", to(name, lambda values: values.astype(str)), "must be float64 of shape"),
        )
    },
    "a filter of threes": (to("filter", lambda values: np.ones((2, 3))), "`filter` must be"),
    "a filter of text": (to("filter", lambda values: values.astype(str)), "`filter` must have"),
    "a filter NaN": (to("filter", lambda values: np.full((1, 2), NAN)), "`filter` contains NaN"),
    "typical 0": (entry("typical", 0.0), "`typical` must be positive, got 0"),
    "no gains yet": (to("gains", lambda values: values[:0]), "`gains` has 0 steps after 4 rows"),
    "a distance 0": (entry("lower_distance.u", 0.0), "`lower_distance` does not fit control"),
    "a distance less": (entry("upper_distance.u", 0.01), "`upper_distance` does not fit control"),
    "a multiplier 0": (entry("lower_multiplier.u", 0.0), "`lower_multiplier` does not fit"),
    "a multiplier negative": (entry("upper_multiplier.u", -1.0), "`upper_multiplier` does not"),
    "another control": (to("control.u", lambda values: values + 0.01), "does not fit control"),
    "other states": (to("y", lambda values: values * 1.01), "belongs to another problem"),
    "other multipliers": (to("lam", lambda values: values * 1.01), "its KKT residual is"),
    "another objective": (cell("objective", 1e3), "its objective is 1000"),
    "another residual": (cell("gradient_norm", 1e3), "its KKT residual is 1000"),
    "objective NaN": (cell("objective", NAN), "`history.objective` must be a finite"),
    "steps of a half": (cell("state_steps", 0.5, 0), "`history.state_steps` must be an integer"),
    "no row": (to("history", lambda rows: rows[:0]), "`history` has no row"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_checkpoint(content, path, name):
    path.write_bytes(content)
    change, match = FORGED[name]
    altered(path, change)
    refused(path, match)


@pytest.mark.parametrize("name", ["lam", "gains", "filter", "run", "lower_multiplier.u"])
def test_any_change_is_found(content, path, name):
    """Also one that could be the content of another run."""
    path.write_bytes(content)
    changes = {
        "run": number(0.3, *NUMBERS, "weight"),
        "filter": to("filter", lambda pairs: np.ones((5, 2))),
    }
    altered(path, changes.get(name, entry(name, 0.125)), seal=False)
    refused(path, f"`{name}` is not what was saved")


def test_what_would_fill_the_memory(content, path):
    path.write_bytes(content)
    altered(path, to("y", lambda _: np.broadcast_to(0.0, (30_000, 100))))
    refused(path, r"`y` must be float64 of shape \(17, 1\), not float64 of shape .30000")


def test_truncated_and_damaged_bytes(content, path):
    """A run goes on as if nothing was wrong, or the file is refused."""
    for length in range(0, len(content), 997):
        path.write_bytes(content[:length])
        refused(path, "not a readable")
    path.write_bytes(content)
    whole = resume(path, iterations=3)
    random = np.random.default_rng(0)
    for place in random.integers(len(content), size=30):
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            other = resume(path, iterations=3)
        except pint.CheckpointError as error:
            assert str(path) in str(error)
            assert path.read_bytes() == damaged
        else:
            assert other.objective == whole.objective


def test_other_problems_and_other_methods(content, path):
    path.write_bytes(content)
    for problem, match in (
        (decay({**BOUNDS, "u": (-0.2, 5.0)}), "`bounds`"),
        (decay({}), "`bounds`"),
        (decay(BOUNDS, weight=2.0), "belongs to another problem"),
        (catalogue("attitude", 16), "`times`"),
    ):
        refused(path, match, *problem)
    refused(path, "`hessian` is 'exact', here.*", method=pint.GaussNewton(hessian="gauss-newton"))


@pytest.mark.parametrize("method", [pint.ReducedSpace, pint.OneShot, pint.Lagged, pint.Adaptive])
def test_files_of_descent_methods(path, method):
    functional, start = bounded(2)
    pint.minimize(functional, start, method(iterations=3), checkpoint=pint.Checkpoint(path))
    refused(path, "`solves` is '.*', here it is 'GaussNewton' .use the same method", functional)
    path.unlink()
    newton = pint.GaussNewton(iterations=3)
    pint.minimize(functional, start, newton, checkpoint=pint.Checkpoint(path))
    refused(path, "`solves` is 'GaussNewton', here it is '", functional, start, method())


def test_a_random_generator_and_the_same_functional(path):
    functional, start = decay(BOUNDS)
    drawn = []
    for last, resumed in ((8, None), (3, False), (8, True)):
        random = np.random.default_rng(0 if not resumed else 5)
        checkpoint = None
        if resumed is not None:
            checkpoint = pint.Checkpoint(path, resume=resumed, random=random)
        pint.minimize(
            functional, start, pint.GaussNewton(iterations=last), checkpoint=checkpoint,
            callback=lambda *_, random=random: drawn.append(random.random()),
        )  # fmt: skip
    assert drawn[:9] == drawn[9:]
