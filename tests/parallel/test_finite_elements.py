"""Finite elements on ranks in time: the numbers of one rank."""

import json

import numpy as np
import pytest

pytest.importorskip("skfem")

import pint
from pint.comm import split
from problems.finite_elements import AllenCahn, Burgers, HeatBoundary

pytestmark = pytest.mark.layout


def evaluated(of, comm=None):
    """Return value, and gradient in the metric, by cycles to rounding."""
    grid = pint.TimeGrid.uniform(1.0, 8, 2, 2, comm)
    problem = of.problem(of.manufactured().data, "implicit-euler")
    functional = pint.ReducedFunctional(problem, grid, accuracy=pint.Accuracy(relative=1e-12))
    value, gradient = functional.value_and_gradient(functional.control(u=0.1))
    return value, functional.controls.norm(gradient), gradient.gather()["u"]


@pytest.mark.parametrize("of", [Burgers(cells=4), HeatBoundary(cells=1)], ids=["burgers", "heat"])
def test_gradients_on_ranks_in_time(world, of):
    for ours, expected in zip(evaluated(of, world), evaluated(of), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.petsc
@pytest.mark.space
@pytest.mark.parametrize(
    ("of", "scheme"),
    [
        (Burgers(cells=4, degree=2), "crank-nicolson"),
        (AllenCahn(cells=2, dim=2), "implicit-euler"),
        (HeatBoundary(cells=1), "sdirk2"),
    ],
    ids=["burgers", "allen-cahn", "heat"],
)
def test_petsc_states_have_the_numbers_of_numpy_states(world, of, scheme):
    from problems.finite_elements.on_petsc import petsc_problem

    data = of.manufactured().data
    for space_ranks in {1, 2, world.size}:
        if world.size % space_ranks:
            continue
        in_time, in_space = split(world, space_ranks)
        problems = (petsc_problem(of, in_space, data, scheme), of.problem(data, scheme))
        results = []
        for problem, comm in zip(problems, (in_time, None), strict=True):
            functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(0.5, 4, comm=comm))
            value, gradient = functional.value_and_gradient(functional.control(u=0.1))
            results.append((value, functional.controls.norm(gradient), gradient.gather()["u"]))
        for ours, expected in zip(*results, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.petsc
@pytest.mark.space
def test_files_of_the_program(world, tmp_path):
    """The vertices that all ranks in space write together, with the numbers of the JSON file."""
    import pde_control
    from vtk_files import read_series

    folder = world.bcast(tmp_path)
    options = "--elements 5 --steps 4 --iterations 1 --states petsc --problem".split()
    options += ["burgers", "--space-ranks", str(2 if world.size % 2 == 0 else 1)]
    pde_control.main([*options, "--json", str(folder / "r.json"), "--vtk", str(folder)])
    world.Barrier()
    written = json.loads((folder / "r.json").read_text())
    times, series = read_series(folder / "state.pvd")
    assert len(times) == 5
    for number, pieces in enumerate(series):
        x = np.concatenate([points[:, 0] for points, _, _ in pieces])
        found = np.concatenate([values["y"] for _, _, values in pieces])
        assert set(np.rint(5 * x)) == set(range(6))
        expected = np.array([0.0, *written["states"][number], 0.0])[np.rint(5 * x).astype(int)]
        np.testing.assert_array_equal(found, expected)
