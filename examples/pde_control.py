"""Optimal control of partial differential equations in finite elements, parallel in time and space.

One of the problems of `problems.finite_elements`:

    minimise  1/2 int |y - y_d|^2 + alpha |u|^2 dt

over Burgers' equation, the Allen-Cahn equation, the heat equation on an L-shape with control
through its boundary, or advection and diffusion. Norms and metrics are those of mass matrices.
Ranks are split into time x space by ``--space-ranks``. It needs scikit-fem.

    python examples/pde_control.py --problem burgers --elements 64 --plot burgers.png
    mpiexec -n 2 python examples/pde_control.py --problem allen-cahn --method mgrit --steps 256
    mpiexec -n 4 python examples/pde_control.py --states petsc --space-ranks 2 --vtk burgers
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from arguments import (
    OutputFolder,
    Parser,
    assignment,
    check_memory,
    check_size,
    checkpoint_options,
    integer,
    is_installed,
    make_functional,
    make_grid,
    minimise,
    optimiser_options,
    output_options,
    print_result,
    run,
    solver_options,
    summary_of,
    write_all,
    write_json,
)

import pint
from pint.comm import split
from pint.report.files import write_atomically

PROBLEMS = ("burgers", "allen-cahn", "heat-boundary", "advection")
SCHEMES = ("implicit-euler", "midpoint", "crank-nicolson", "sdirk2")
PARAMETERS = ("nu", "epsilon", "speed", "alpha", "T")


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("pde_control.py", description="Control of PDEs in finite elements.")
    new.comm = comm
    option = new.add_argument_group("problem").add_argument
    option("--problem", choices=PROBLEMS, default="burgers", help="the equation")
    option("--elements", type=integer(1), default=32, metavar="n",
           help="cells along a side of length 1")  # fmt: skip
    option("--degree", type=int, choices=[1, 2], default=1, help="of the elements: P1 or P2")
    option("--dimension", type=int, choices=[1, 2],
           help="of space, for allen-cahn and advection; 1 by default")  # fmt: skip
    option("--stabilisation", choices=["none", "supg", "upwind"],
           help="of advection; by default supg for P1, none for P2")  # fmt: skip
    option("--steps", type=integer(1), default=64, metavar="N", help="time steps")
    option("--scheme", choices=SCHEMES, default="sdirk2", help="time-stepping scheme")
    option("--target", choices=["example", "manufactured"], default="example",
           help="an example, or that of a known optimum")  # fmt: skip
    option("--states", choices=["numpy", "petsc"], default="numpy", help="what states are")
    option("--space-ranks", type=integer(1), default=1, metavar="s",
           help="ranks that share each state; petsc only")  # fmt: skip
    option("--set", type=assignment, nargs="+", action="extend", default=[], metavar="name=value",
           help=f"{', '.join(PARAMETERS)}, where the problem has them")  # fmt: skip
    solver_options(new, method="sequential")
    optimiser_options(new, gradient_tolerance=1e-8, iterations=1000)
    checkpoint_options(new)
    output_options(new, plot="control and final state")
    new.add_argument("--vtk", type=OutputFolder, metavar="DIR",
                     help="states, and controls in the domain, for ParaView")  # fmt: skip
    return new


@dataclass(frozen=True)
class Setup:
    """Everything that is made of the options before the optimisation starts."""

    of: Any
    equation: Any
    optimum: Any  # of manufactured data, else None
    world: Any
    functional: pint.ReducedFunctional


def make_problem(options: argparse.Namespace) -> Any:
    """Return the problem's parameters; ValueError names the option that does not fit."""
    if not is_installed("skfem"):
        raise ValueError("argument --problem: needs scikit-fem (pip install 'pint-control[fem]')")
    from problems.finite_elements import PROBLEMS as KINDS

    kind = KINDS[options.problem]
    known = {field.name for field in fields(kind)}
    parameters: dict[str, Any] = {"cells": options.elements, "degree": options.degree}
    for name, value in options.set:
        if name not in known.intersection(PARAMETERS):
            raise ValueError(
                f"argument --set: {options.problem} has no parameter {name!r}, only "
                f"{', '.join(one for one in PARAMETERS if one in known)}"
            )
        check_size(name, value)
        parameters[name] = value
    for name, value in (("dim", options.dimension), ("stabilisation", options.stabilisation)):
        if value is not None:
            parameters[name] = value
    if options.problem == "advection" and options.degree == 2:
        if options.stabilisation not in (None, "none"):
            raise ValueError(f"argument --stabilisation: {options.stabilisation} needs --degree 1")
        parameters["stabilisation"] = "none"
    if options.problem == "burgers" and options.elements * options.degree < 2:
        raise ValueError("argument --elements: must be at least 2: y is zero at both ends")
    return kind(**parameters)


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Make the problem; ValueError names the option that does not fit."""
    dimension = 2 if options.problem == "heat-boundary" else options.dimension or 1
    unknowns = (options.elements * options.degree) ** dimension
    check_memory(options, "--elements/--steps", unknowns, comm.size)
    of = make_problem(options)
    time_comm, space_comm = split(comm, options.space_ranks)
    grid = make_grid(options, of.T, options.steps, time_comm)
    optimum = of.manufactured() if options.target == "manufactured" else None
    data = of.data() if optimum is None else optimum.data
    equation = of.equation(data)
    if equation.elements.size < space_comm.size:
        raise ValueError(
            f"argument --space-ranks: {space_comm.size} ranks cannot share "
            f"{equation.elements.size} unknowns; use more --elements"
        )
    if options.states == "petsc":
        from problems.finite_elements.on_petsc import petsc_problem

        problem = petsc_problem(of, space_comm, data, options.scheme)
    else:
        problem = of.problem(data, options.scheme)
    return Setup(of, equation, optimum, comm, make_functional(options, problem, grid))


def solve(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Minimise, write what was asked for, and return the numbers of the result. Collective."""
    functional, equation = setup.functional, setup.equation
    grid, space = functional.grid, functional.space
    result = minimise(options, functional, functional.control())
    control, states = result.control.gather()["u"], result.states()
    summary = summary_of(result, control.tolist())
    if setup.world.rank == 0:
        assert states is not None
        print(
            f"{options.problem}, P{options.degree}, {equation.elements.size} unknowns, "
            f"{options.method}: {grid.steps} steps on {grid.comm.size} x {space.comm.size} ranks "
            f"(time x space), {grid.levels} level(s)"
        )
        print_result(result)
        if setup.optimum is not None:
            errors = setup.optimum.errors(equation, np.asarray(grid.t), control, states)
            summary |= dict(zip(("control_error", "state_error"), errors, strict=True))
            print("errors              control {:.3e}, state {:.3e}".format(*errors))
    write_all(*writers(options, setup, result, summary, control, states))
    return summary


def writers(
    options: argparse.Namespace,
    setup: Setup,
    result: pint.Result,
    summary: dict[str, Any],
    control: np.ndarray,
    states: np.ndarray | None,
) -> Iterator[Callable[[], object]]:
    """Yield what writes each result; the states are on the first rank alone."""
    if states is not None:
        t, x = np.asarray(setup.functional.grid.t), setup.equation.elements.points.T
        places = {"x": x.tolist(), "states": states.tolist()}
        yield lambda: write_json(options.json, {**summary, **places})
        if options.npz:
            arrays = {"t": t, "states": states, "control.u": control, "x": x}
            yield lambda: pint.io.write_npz(options.npz, arrays)
        if options.history:
            yield lambda: pint.write_history(options.history, result.history)
        if options.plot:
            yield lambda: draw(options, setup.equation, t, control, states[-1])
    if options.vtk:
        yield lambda: write_vtk(options, setup, result)


def write_vtk(options: argparse.Namespace, setup: Setup, result: pint.Result) -> None:
    """Write states and controls at the vertices, for ParaView. Collective."""
    functional, elements = setup.functional, setup.equation.elements
    grid, comm = functional.grid, functional.space.comm
    # A zero follows the numbers of each rank, for the vertices where functions are zero.
    ends = np.cumsum([0, *comm.allgather(functional.space.shape[0])])
    unknowns = elements.at_vertices
    places = unknowns + np.searchsorted(ends, unknowns, side="right") - 1
    places[unknowns < 0] = ends[comm.rank + 1] + comm.rank
    cells = np.array_split(elements.mesh.t.T, comm.size)[comm.rank]
    vertices, numbers = np.unique(cells, return_inverse=True)
    kind = "line" if elements.mesh.dim() == 1 else "triangle"
    own = functional.space.shape[0] + 1
    mesh = pint.io.Mesh(
        elements.mesh.p.T[vertices], {kind: numbers.reshape(cells.shape)}, own, places[vertices]
    )
    first = int(grid.comm.rank > 0)
    blocks = {"y": functional.space.as_array(functional.states(result.state)[first:])}
    if setup.of.control_on == "domain":
        u = result.control["u"]
        # At the first point in time that of the first step
        blocks["u"] = np.concatenate([u[: 1 - first], u])
    values = {name: np.pad(block, [(0, 0), (0, 1)]) for name, block in blocks.items()}
    series = pint.io.Series(np.asarray(grid.t), grid.first + first, grid.comm, comm)
    pint.io.write_series(options.vtk, mesh, series, values)


def draw(
    options: argparse.Namespace, equation: Any, t: np.ndarray, control: np.ndarray, y: np.ndarray
) -> None:
    """Draw the control and the final state; needs matplotlib. Not collective."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    elements, x = equation.elements, equation.control_points
    if elements.mesh.dim() == 1:
        order = np.argsort(x[0])
        middles = 0.5 * (t[1:] + t[:-1])
        picture = left.pcolormesh(middles, x[0][order], control[:, order].T, shading="nearest")
        figure.colorbar(picture, ax=left)
        left.set(xlabel="time", ylabel="x", title="control")
        order = np.argsort(elements.points[0])
        right.plot(elements.points[0][order], y[order])
        right.set(xlabel="x", ylabel="y", title="final state")
    else:
        picture = left.scatter(*x, c=control[0], s=12)
        figure.colorbar(picture, ax=left)
        left.set(xlabel="x", title="control of the first step", aspect="equal")
        at_vertices = np.append(y, 0.0)[elements.at_vertices]
        mesh = elements.mesh
        picture = right.tripcolor(*mesh.p, mesh.t.T, at_vertices, shading="gouraud")
        figure.colorbar(picture, ax=right)
        right.set(xlabel="x", title="final state", aspect="equal")
    kind = options.plot.rpartition(".")[2]
    write_atomically(options.plot, lambda file: figure.savefig(file, format=kind, dpi=120))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of the result."""
    return run(arguments, parser, set_up, solve, sizes="--elements/--steps")


if __name__ == "__main__":
    main()
