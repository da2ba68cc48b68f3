"""The ODE example: its numbers by every method and optimiser, its files, and wrong arguments."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import ode_control
import ode_references as reference
import pytest

KEYS = (
    "objective",
    "gradient_norm",
    "iterations",
    "status",
    "control",
    "state_steps",
    "adjoint_steps",
    "seconds",
    "peak_memory",
    "solves",
    "converged_solves",
)


def run(arguments):
    return ode_control.main(arguments.split())


PENDULUM = {96: 1.45710411941, 192: 1.45600341823}
"""By number of steps, by sequential sweeps."""


@pytest.mark.parametrize("method", ["sequential", "mgrit", "one-shot"])
def test_double_integrator(method, capsys):
    summary = run(f"--problem double-integrator --steps 20 --method {method}")
    assert tuple(summary) == KEYS
    expected, control = reference.double_integrator_optimum(0.005, 1.0, 20)
    assert summary["objective"] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(summary["control"], control, atol=1e-5)
    assert summary["status"] == "converged"
    assert summary["gradient_norm"] <= 1e-8
    assert summary["state_steps"] >= 20 * summary["iterations"]
    assert method in capsys.readouterr().out


@pytest.mark.parametrize("optimiser", ["scipy", pytest.param("tao", marks=pytest.mark.petsc)])
def test_other_optimisers(optimiser):
    expected, _ = reference.double_integrator_optimum(0.02, 1.0, 20)
    summary = run(f"--set gamma=0.02 --method mgrit --optimiser {optimiser}")
    assert summary["status"] == "converged"
    assert summary["objective"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--steps 96 --cycles 1 --relaxation FCF --correction full", PENDULUM[96]),
        ("--steps 96 --coarsening 8 --cycles adaptive --relaxation F --correction 2", PENDULUM[96]),
        (
            "--steps 192 --levels 3 --cycles adaptive --relaxation F --correction full",
            PENDULUM[192],
        ),
    ],
)
def test_pendulum_with_corrected_coarse_steps(options, expected):
    summary = run(f"--problem pendulum --method one-shot {options}")
    assert summary["status"] == "converged"
    assert summary["objective"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scheme", ["forward-euler", "backward-euler", "crank-nicolson"])
def test_scheme_and_parameters(scheme):
    summary = run(
        f"--problem scalar-lqr --scheme {scheme} --steps 32 --set r=0.2 s=1 --set a=0.5 T=2"
    )
    expected, _ = reference.linear_quadratic_optimum(0.5, 1, 1, 2.0, 32, scheme, 0.5, 0.1, 0.5)
    assert summary["objective"] == pytest.approx(expected, rel=1e-12)


def test_bounds_of_the_control():
    assert np.ptp(run("--problem fishing --steps 24")["control"]) == 1.0
    bounded = run("--problem fishing --steps 24 --lower 0.25 --upper 0.75")
    u = np.array(bounded["control"])
    assert u.min() == 0.25 and u.max() == 0.75
    expected, _ = reference.optimum(reference.fishing(), np.full(24, 0.25), (0.25, 0.75))
    assert abs(bounded["objective"] - expected) < 1e-10
    assert run("--lower -1 --upper 2")["status"] == "converged"


@pytest.mark.parametrize("method", ["mgrit", "one-shot --cycles adaptive"])
def test_another_coarse_step(method):
    summary = run(
        f"--problem scalar-lqr --scheme forward-euler --steps 32 --method {method} --coarse sdirk2"
    )
    expected, _ = reference.linear_quadratic_optimum(
        -1, 1, 1, 1.0, 32, "forward-euler", 0.5, 0.05, 0.25
    )
    assert summary["status"] == "converged"
    assert summary["objective"] == pytest.approx(expected, rel=1e-12)


def test_files_that_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    summary = run(
        "--problem vector-lqr --steps 16 --iterations 3 --json out.json --npz out.npz "
        "--plot out.png"
    )
    assert summary["status"] == "iteration limit"
    written = json.loads(Path("out.json").read_text())
    states = written.pop("states")
    assert written == summary
    assert np.shape(states) == (17, 6)
    assert tuple(written) == KEYS
    assert np.shape(written["control"]) == (16, 2)
    assert Path("out.png").read_bytes().startswith(b"\x89PNG")
    with np.load("out.npz") as arrays:
        np.testing.assert_array_equal(arrays["states"], states)
        np.testing.assert_array_equal(arrays["control.u"], written["control"])
    assert sorted(os.listdir()) == ["out.json", "out.npz", "out.png"]


BAD_ARGUMENTS = [
    ("--problem brachistochrone", "--problem"),
    ("--steps 0", "--steps"),
    ("--steps 2 --method mgrit", "--steps"),
    ("--problem fishing --scheme forward-euler", "--scheme"),
    ("--scheme euler", "--scheme"),
    ("--set gamma", "--set"),
    ("--set gamma=x", "--set"),
    ("--set gamma=nan", "--set"),
    ("--set gamma=-1", "gamma"),
    ("--set beta=1", "beta"),
    ("--set T=0", "T="),
    ("--lower x", "--lower"),
    ("--lower 1 --upper 0", "--lower"),
    ("--method one-shot --levels 1", "--levels"),
    ("--method mgrit --coarsening 2,2", "--coarsening"),
    ("--method mgrit --coarse leapfrog", "--coarse"),
    ("--method mgrit --coarse substeps:0", "--coarse"),
    ("--method mgrit --levels 1 --coarse sdirk2", "--coarse"),
    ("--coarse sdirk2", "--coarse"),
    ("--method one-shot --optimiser scipy", "--optimiser"),
    ("--optimiser newton", "--optimiser"),
    ("--correction all", "--correction"),
    ("--correction 0 --method mgrit", "--correction"),
    ("--correction 3 --method mgrit", "--correction: is 'full', or a rank from 1 to 2"),
    ("--correction full", "--correction"),
    ("--correction full --method one-shot --levels 1", "--levels"),
    ("--gradient-tolerance -1", "--gradient-tolerance"),
    ("--iterations 1.5", "--iterations"),
    ("--json no/such/folder/out.json", "--json"),
    ("--plot out.txt", "--plot"),
]


def wrong(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("ode_control.py: error: ")
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize(("arguments", "name"), BAD_ARGUMENTS)
def test_bad_argument(arguments, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert name in wrong(arguments, capsys)
    assert not os.listdir()


def test_tao_without_petsc4py(monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "petsc4py" else find_spec(name, *rest),
    )
    assert "needs petsc4py" in wrong("--optimiser tao", capsys)


def test_states_that_become_infinite_are_one_line_too(capsys):
    with pytest.raises(SystemExit) as ended, np.errstate(all="ignore"):
        run("--problem van-der-pol --steps 1 --set T=1e200")
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("ode_control.py: ") and message.count("\n") == 1
    assert "not finite" in message
