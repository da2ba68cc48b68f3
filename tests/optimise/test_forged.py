"""Checkpoints that are well-formed and wrong inside are refused in one line, and stay."""

import os

import forgeries
import numpy as np
import pytest
from checkpoint_cases import METHODS, PROBLEMS, solve
from forgeries import altered, cell, entry, number, to

import pint

RUNS = {
    "bounded": ("bounded", "one-shot", forgeries.ANY_RUN | forgeries.EFFORTS),
    "lagged": ("bounded", "lagged", forgeries.LAGGED),
    "adaptive": ("bounded", "adaptive", forgeries.ADAPTIVE),
}
CASES = [(run, name) for run, (*_, cases) in RUNS.items() for name in cases]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The bytes of the checkpoints of all runs."""
    folder, contents = tmp_path_factory.mktemp("saved"), {}
    for run, (problem, method, _) in RUNS.items():
        checkpoint = pint.Checkpoint(folder / f"{run}.npz")
        solve(problem, method, checkpoint=checkpoint, iterations=4)
        contents[run] = (folder / f"{run}.npz").read_bytes()
    return contents


def refused(path, run, match):
    before = path.read_bytes()
    problem, method, _ = RUNS[run]
    levels, kind = METHODS[method]
    functional, start = PROBLEMS[problem](levels)
    checkpoint = pint.Checkpoint(path, interval=0, resume=True)
    with pytest.raises(pint.CheckpointError, match=match) as error:
        pint.minimize(functional, start, kind(), checkpoint=checkpoint)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(("run", "name"), CASES, ids=[" ".join(case) for case in CASES])
def test_a_forged_checkpoint(saved, tmp_path, run, name):
    path = tmp_path / "run.npz"
    path.write_bytes(saved[run])
    change, match = RUNS[run][2][name]
    altered(path, change)
    if match is not None:
        refused(path, run, match)


@pytest.mark.parametrize("name", ["control.u", "s.u", "adjoint", "run", "history", "state_tau"])
def test_any_change_is_found(saved, tmp_path, name):
    """Also one that could be the content of another run."""
    path = tmp_path / "run.npz"
    path.write_bytes(saved["lagged"])
    changes = {"run": number(0.3, "numbers", "step"), "history": cell("seconds", 1e4)}
    change = changes.get(name, entry(name, 0.125))
    altered(path, change, seal=False)
    refused(path, "lagged", f"`{name}` is not what was saved")


@pytest.mark.parametrize(
    ("kind", "name"), [(k, n) for k, cases in forgeries.GENERATORS.items() for n in cases]
)
def test_a_forged_generator(tmp_path, kind, name):
    path = tmp_path / "run.npz"
    random = np.random.Generator(getattr(np.random, kind)(7))
    solve("bounded", "sequential", checkpoint=pint.Checkpoint(path, random=random), iterations=2)
    change, match = forgeries.GENERATORS[kind][name]
    altered(path, change)
    before, state = path.read_bytes(), repr(random.bit_generator.state)
    with pytest.raises(pint.CheckpointError, match=match):
        again = pint.Checkpoint(path, resume=True, random=random)
        solve("bounded", "sequential", checkpoint=again, iterations=4)
    assert path.read_bytes() == before
    assert repr(random.bit_generator.state) == state


def test_a_checkpoint_that_would_fill_the_memory(saved, tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(saved["bounded"])
    altered(path, to("state", lambda _: np.broadcast_to(0.0, (30_000, 100))))
    refused(path, "bounded", "`state` must be float64 of shape .*, not float64 of shape .30000")
    with np.load(path) as archive:
        arrays = {**archive, "state": np.zeros(12_000_000)}
    np.savez_compressed(path, **arrays)
    refused(path, "bounded", r"it would unpack from \d+ to 9\d+ bytes")
