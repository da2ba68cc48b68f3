"""The heat-control program: known optima, every solver, files, and errors in one line."""

import json

import heat_control
import numpy as np
import pytest
from vtk_files import read_series

OPTIMUM = 0.02095324126527738
KEYS = {
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
    "states",
}


@pytest.mark.parametrize(
    "method",
    [
        "",
        "--method mgrit --levels 3",
        "--method one-shot",
        "--optimiser scipy",
        "--method mgrit --levels 3 --coarsening 2 --space-coarsening",
        "--method one-shot --coarsening 2 --space-coarsening",
    ],
)
def test_eigenvector_problem(method, tmp_path):
    path = tmp_path / "result.json"
    heat_control.main([*method.split(), "--json", str(path)])
    result = json.loads(path.read_text())
    assert set(result) == KEYS
    assert result["objective"] == pytest.approx(OPTIMUM, rel=1e-12)
    assert np.shape(result["control"]) == (64, 31)
    assert np.shape(result["states"]) == (65, 31)
    assert result["status"] == "converged"


@pytest.mark.petsc
@pytest.mark.parametrize("optimiser", ["lbfgs", "scipy", "tao"])
def test_eigenvector_problem_with_petsc_states(optimiser):
    options = ["--states", "petsc", "--optimiser", optimiser, "--gradient-tolerance", "1e-7"]
    result = heat_control.main(options)
    assert result["objective"] == pytest.approx(OPTIMUM, rel=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        "--control distributed --dimension 2 --points 7",
        "--control initial --points 15",
        "--control neumann --points 12",
        pytest.param("--dimension 2 --points 7 --states petsc", marks=pytest.mark.petsc),
    ],
)
def test_coarser_meshes_give_the_same_control(options, capsys):
    options = [*options.split(), "--steps", "16", "--target", "manufactured"]
    options += ["--gradient-tolerance", "1e-9"]
    expected = heat_control.main(options)
    always = "--method mgrit --coarsening 2 --levels 3 --space-coarsening always".split()
    result = heat_control.main([*options, *always])
    points = [line for line in capsys.readouterr().out.splitlines() if "points by level" in line]
    assert len(set(points[0].replace(",", "").split()[3:])) > 1
    assert result["converged_solves"] == result["solves"]
    assert result["objective"] == pytest.approx(expected["objective"], rel=1e-12)
    np.testing.assert_allclose(result["control"], expected["control"], atol=1e-7)


@pytest.mark.parametrize("states", ["numpy", pytest.param("petsc", marks=pytest.mark.petsc)])
def test_states_as_files(states, tmp_path):
    options = "--dimension 2 --points 4 --steps 3 --iterations 2 --target manufactured".split()
    files = {name: tmp_path / name for name in ("r.json", "r.npz", "folder")}
    options += ["--json", str(files["r.json"]), "--npz", str(files["r.npz"]), "--states", states]
    heat_control.main([*options, "--vtk", str(files["folder"])])
    written = json.loads(files["r.json"].read_text())
    with np.load(files["r.npz"]) as arrays:
        np.testing.assert_array_equal(arrays["states"], written["states"])
        np.testing.assert_array_equal(arrays["control.u"], written["control"])
    times, series = read_series(files["folder"] / "state.pvd")
    np.testing.assert_allclose(times, np.arange(4) / 3, rtol=1e-15)
    for number, ((points, _, values),) in enumerate(series):
        index = np.rint(points[:, :2] * 5 - 1).astype(int) @ [4, 1]
        np.testing.assert_array_equal(values["y"], np.array(written["states"])[number][index])
        control = np.array(written["control"])[max(number - 1, 0)]
        np.testing.assert_array_equal(values["u"], control[index])


def test_a_file_in_place_of_the_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit):
        heat_control.main(["--points", "4", "--vtk", str(tmp_path / "file")])
    assert "--vtk" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_meshes_are_halved_where_steps_are_long_enough(capsys):
    for steps, points in ((16, "15, 7, 3"), (64, "15, 15, 7"), (256, "15, 15, 15")):
        options = f"--points 15 --steps {steps} --method mgrit --levels 3 --coarsening 2"
        heat_control.main([*options.split(), "--space-coarsening", "--iterations", "1"])
        assert f"points by level     {points}" in capsys.readouterr().out


@pytest.mark.petsc
@pytest.mark.parametrize("control", ["distributed", "initial"])
def test_petsc_states_in_two_dimensions_give_the_same_control(control):
    options = ["--control", control, "--dimension", "2", "--points", "5", "--steps", "8"]
    options += ["--target", "manufactured"]
    expected = heat_control.main(options)
    result = heat_control.main([*options, "--states", "petsc"])
    np.testing.assert_allclose(result["control"], expected["control"], atol=1e-8)


@pytest.mark.parametrize(
    "options",
    [
        "--control distributed",
        "--control initial",
        "--control neumann",
        "--control distributed --dimension 2",
        "--control initial --dimension 2",
    ],
)
def test_picture(options, tmp_path):
    path = tmp_path / "heat.png"
    small = ["--points", "5", "--steps", "8", "--target", "manufactured"]
    heat_control.main([*options.split(), *small, "--plot", str(path)])
    assert path.read_bytes().startswith(b"\x89PNG")


def test_parameters():
    cold = heat_control.main(["--set", "nu=1.0", "alpha=0.1", "--set", "T=0.5"])
    assert cold["objective"] < OPTIMUM


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("--steps 0", "--steps"),
        ("--points 0", "--points"),
        ("--control wall", "--control"),
        ("--dimension 3", "--dimension"),
        ("--control neumann --dimension 2", "--dimension"),
        ("--set mu=1", "--set"),
        ("--set nu=-1", "--set"),
        ("--set nu", "--set"),
        ("--steps 2 --method mgrit", "--steps"),
        ("--space-ranks 2", "--space-ranks"),
        ("--states petsc --space-ranks 7", "--space-ranks"),
        ("--method one-shot --optimiser scipy", "--optimiser"),
        ("--space-coarsening", "--space-coarsening"),
        ("--space-coarsening --method mgrit --levels 1", "--space-coarsening"),
        ("--space-coarsening --method mgrit --points 32", "--points"),
        ("--space-coarsening --method mgrit --points 5", "--points"),
        ("--json no/such/folder/x.json", "--json"),
        ("--plot x.xyz", "--plot"),
    ],
)
def test_wrong_arguments(options, name, capsys):
    with pytest.raises(SystemExit) as ended:
        heat_control.main(options.split())
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("heat_control.py: error: ")
    assert message.count("\n") == 1
    assert name in message
