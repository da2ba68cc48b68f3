"""Files for ParaView, read back: points, cells, times and numbers; what does not fit is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from vtk_files import read_series

import pint
from pint.comm import SerialComm
from pint.io import Mesh, Series, grid, scikit_fem, write_series
from problems.heat import Heat, manufactured


@pytest.fixture(scope="module")
def result():
    heat = Heat("distributed", 4, 2)
    functional = pint.ReducedFunctional(
        heat.problem(manufactured(heat, 1.0)), pint.TimeGrid.uniform(1.0, 6)
    )
    return pint.minimize(functional, functional.control(u=0.5), pint.ReducedSpace(iterations=1))


def axis(points=4):
    return (np.arange(points) + 1) / (points + 1)


def test_states_and_controls_of_a_result(result, tmp_path):
    fields = {"y": lambda y: y, "flow": lambda y: np.stack([y, 2 * y], axis=1)}
    path = result.write_vtk(
        tmp_path / "new", grid(axis(), axis()), name="heat", fields=fields, controls=["u"], every=4
    )
    assert path == tmp_path / "new" / "heat.pvd"
    times, series = read_series(path)
    np.testing.assert_allclose(times, np.array([0, 4, 6]) / 6, rtol=1e-15)
    coordinates = result.functional.problem.stepper.heat.coordinates
    for number, ((points, cells, values),) in zip((0, 4, 6), series, strict=True):
        np.testing.assert_allclose(points[:, :2].T, coordinates, rtol=1e-15)
        np.testing.assert_array_equal(points[:, 2], 0)
        corners = points[np.array(cells)]
        np.testing.assert_allclose(corners.mean(axis=1).mean(axis=0)[:2], 0.5)
        state = result.states()[number]
        np.testing.assert_array_equal(values["y"], state)
        np.testing.assert_array_equal(values["flow"], np.stack([state, 2 * state, 0 * state], 1))
        np.testing.assert_array_equal(values["u"], result.control["u"][max(number - 1, 0)])
    names = {file.name for file in path.parent.iterdir()}
    assert names == {"heat.pvd", *(f"heat_{n:05d}.vtu" for n in (0, 4, 6))}


def volume(corners):
    """Return the signed sizes of cells from their points, in VTK's order."""
    a, *edges = np.moveaxis(corners, 1, 0)
    count = len(edges) + 1
    if count == 2:
        return edges[0][:, 0] - a[:, 0]
    if count == 4:
        along, across = edges[0] - a, edges[2] - a
        np.testing.assert_allclose(edges[1] - a, along + across, atol=1e-15)
        return np.cross(along, across)[:, 2]
    sides = np.stack([edges[0] - a, edges[2] - a, edges[3] - a], axis=1)
    np.testing.assert_allclose(edges[5] - a, sides.sum(axis=1), atol=1e-15)
    np.testing.assert_allclose(edges[1] - a, sides[:, 0] + sides[:, 1], atol=1e-15)
    return np.linalg.det(sides)


@pytest.mark.parametrize("lengths", [(5,), (3, 4), (2, 3, 4)])
def test_cells_of_grids_fill_the_box(lengths):
    axes = [np.linspace(0, 1, n) ** 1.5 for n in lengths]
    mesh = grid(*axes)
    (table,) = mesh.cells.values()
    points = np.pad(mesh.points, [(0, 0), (0, 3 - len(lengths))])
    sizes = volume(points[table])
    assert (sizes > 0).all()
    assert sizes.sum() == pytest.approx(1.0)
    expected = np.meshgrid(*axes, indexing="ij")
    np.testing.assert_array_equal(mesh.points.T, [part.reshape(-1) for part in expected])


def test_a_direction_of_one_point_has_no_extent():
    assert list(grid([0.0, 1.0], [0.5]).cells) == ["line"]
    assert list(grid([0.5]).cells) == ["vertex"]


def one_time(mesh, values, folder, **options):
    series = Series(np.zeros(1), 0, SerialComm(), SerialComm())
    return write_series(folder, mesh, series, {"<y>": [values]}, **options)


def test_meshes_of_finite_elements(tmp_path):
    class MeshTri1(SimpleNamespace):
        """As scikit-fem has it: a column for each point, and for each triangle."""

    p = np.array([[0.0, 1, 0, 1], [0, 0, 1, 1]])
    mesh = scikit_fem(MeshTri1(p=p, t=np.array([[0, 1], [1, 3], [2, 2]])))
    path = one_time(mesh, np.arange(4.0), tmp_path)
    _, (((points, cells, values),),) = read_series(path)
    np.testing.assert_array_equal(points, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(cells, [[0, 1, 2], [1, 3, 2]])
    np.testing.assert_array_equal(values["<y>"], np.arange(4.0))


@pytest.mark.parametrize("kind", ["MeshLine", "MeshTri", "MeshQuad", "MeshTet"])
def test_meshes_of_scikit_fem(kind, tmp_path):
    skfem = pytest.importorskip("skfem")
    mesh = getattr(skfem, kind)().refined(1)
    path = one_time(scikit_fem(mesh), mesh.p[0], tmp_path)
    _, (((points, cells, values),),) = read_series(path)
    np.testing.assert_array_equal(points[:, : len(mesh.p)], mesh.p.T)
    np.testing.assert_array_equal(cells, mesh.t.T)
    np.testing.assert_array_equal(values["<y>"], mesh.p[0])


def test_tables(result, tmp_path):
    result.write_npz(tmp_path / "r.npz", x=np.arange(16))
    with np.load(tmp_path / "r.npz") as found:
        assert set(found) == {"t", "x", "states", "control.u"}
        np.testing.assert_array_equal(found["states"], result.states())
        np.testing.assert_allclose(found["t"], np.arange(7) / 6, rtol=1e-15)
        np.testing.assert_array_equal(found["control.u"], result.control["u"])
    result.write_csv(tmp_path / "r.csv", x=range(16))
    header = (tmp_path / "r.csv").read_text().splitlines()[0].split(",")
    assert header[:3] == ["t", "y(0)", "y(1)"]
    table = np.loadtxt(tmp_path / "r.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(table[:, 1:], result.states())
    with pytest.raises(OSError, match="nowhere"):
        result.write_csv(tmp_path / "nowhere" / "r.csv")


# Refusals


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mesh": grid(axis(), axis(3))}, r"`y` must have the shape \(12,\) or .* got \(16,\)"),
        ({"mesh": "mesh"}, r"`write_vtk\(mesh\)` must be a `pint.io.Mesh`"),
        ({"fields": {"z": lambda y: y[:3]}}, r"`z` must have the shape \(16,\)"),
        ({"controls": ["v"]}, r"`write_vtk\(controls=...\)` names `v`"),
        ({"every": 0}, r"`write_vtk\(every=...\)` must be an integer >= 1, got 0"),
        ({"name": "a/b"}, r"`write_vtk\(name=...\)` must be a file name"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_file(options, error, result, tmp_path):
    given = {"mesh": grid(axis(), axis()), **options}
    with pytest.raises((ValueError, TypeError), match=error):
        result.write_vtk(tmp_path / "new", given.pop("mesh"), **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((np.zeros(3), {}), r"Mesh\(points=...\)` must have the shape"),
        ((np.zeros((3, 2)), {"pentagon": np.zeros((1, 5), int)}), "Mesh.*are vertex, line"),
        ((np.zeros((3, 2)), {"line": np.zeros((1, 3), int)}), r"`line` must be .* \(m, 2\)"),
        ((np.zeros((3, 2)), {"line": np.array([[0, 3]])}), "from 0 to 2, got 0 to 3"),
    ],
)
def test_wrong_meshes(arguments, error):
    with pytest.raises(ValueError, match=error):
        Mesh(*arguments)


def test_wrong_axes_and_meshes_of_others():
    with pytest.raises(ValueError, match=r"`pint.io.grid\(axes\)` must be 1 to 3 vectors"):
        grid(np.zeros((2, 2)))
    with pytest.raises(TypeError, match=r"`pint.io.scikit_fem\(mesh\)` must be one of"):
        scikit_fem(3)
