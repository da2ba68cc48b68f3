"""The program for finite elements: known optima, every solver, files, and errors in one line."""

import json

import numpy as np
import pytest

pytest.importorskip("skfem")

import pde_control
from vtk_files import read_series

SMALL = "--elements 4 --steps 4 --target manufactured --iterations 3".split()


@pytest.mark.parametrize(
    "options",
    [
        "--problem burgers --degree 2",
        "--problem allen-cahn --dimension 2 --method mgrit --coarsening 2 --levels 2",
        "--problem heat-boundary --method one-shot --coarsening 2 --levels 2",
        "--problem advection --stabilisation upwind --optimiser scipy --set nu=0.1",
        pytest.param("--problem heat-boundary --states petsc", marks=pytest.mark.petsc),
        pytest.param("--problem burgers --states petsc --scheme midpoint", marks=pytest.mark.petsc),
    ],
)
def test_files(options, tmp_path):
    """What is written is the optimum, in all its forms; ParaView's is at the vertices."""
    files = {name: tmp_path / name for name in ("r.json", "r.npz", "r.png", "vtk")}
    options = [*options.split(), *SMALL, "--json", str(files["r.json"])]
    options += ["--npz", str(files["r.npz"]), "--plot", str(files["r.png"])]
    result = pde_control.main([*options, "--vtk", str(files["vtk"])])
    written = json.loads(files["r.json"].read_text())
    assert result.items() <= written.items()
    states, x = np.array(written["states"]), np.array(written["x"])
    with np.load(files["r.npz"]) as arrays:
        np.testing.assert_array_equal(arrays["states"], states)
        np.testing.assert_array_equal(arrays["control.u"], written["control"])
    assert files["r.png"].read_bytes().startswith(b"\x89PNG")
    times, series = read_series(files["vtk"] / "state.pvd")
    np.testing.assert_allclose(times, np.linspace(0, 1, 5))
    for number, ((points, _, values),) in enumerate(series):
        apart = np.abs(points[:, None, : x.shape[1]] - x).sum(axis=2)
        nearest = states[number][apart.argmin(axis=1)]
        expected = np.where(apart.min(axis=1) < 1e-12, nearest, 0.0)
        np.testing.assert_array_equal(values["y"], expected)
        if "u" in values:
            control = np.array(written["control"])[max(number - 1, 0)][apart.argmin(axis=1)]
            np.testing.assert_array_equal(
                values["u"], np.where(apart.min(axis=1) < 1e-12, control, 0.0)
            )


def test_all_methods_find_the_known_optimum():
    options = "--elements 6 --steps 8 --target manufactured --gradient-tolerance 1e-6".split()
    found = [
        pde_control.main([*options, *more.split()])
        for more in ("", "--method mgrit --coarsening 2 --levels 2", "--optimiser scipy")
    ]
    for result in found:
        assert result["status"] == "converged"
        assert result["objective"] == pytest.approx(found[0]["objective"], rel=1e-8)
        assert result["control_error"] == pytest.approx(found[0]["control_error"], rel=1e-3)
    assert found[0]["control_error"] < 0.04


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("--elements 0", "--elements"),
        ("--elements 1", "--elements"),
        ("--problem heat", "--problem"),
        ("--dimension 2", "--dimension: is not for --problem burgers"),
        ("--problem heat-boundary --stabilisation supg", "--stabilisation"),
        ("--problem advection --degree 2 --stabilisation supg", "--stabilisation"),
        ("--set epsilon=1", "--set: burgers has no parameter 'epsilon', only nu, alpha, T"),
        ("--set nu=0", "--set: nu must be positive"),
        ("--space-ranks 2", "--space-ranks"),
        ("--scheme rk4", "--scheme"),
    ],
)
def test_wrong_arguments(options, name, capsys):
    with pytest.raises(SystemExit) as ended:
        pde_control.main(options.split())
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("pde_control.py: error: ")
    assert message.count("\n") == 1
    assert name in message
