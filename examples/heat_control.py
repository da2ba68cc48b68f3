"""Optimal control of the heat equation, parallel in time and, with PETSc states, in space.

One of the problems of `problems.heat` on (0, 1)^d:

    minimise  1/2 |y - y_d|^2 + alpha/2 |u|^2,   y_t = nu Laplace(y) + f (+ u)

with u on the right-hand side (``--control distributed``), as initial state (``initial``) or as flux
through the boundary x = 1 (``neumann``). Ranks are split into time x space by ``--space-ranks``.

    python examples/heat_control.py --target manufactured --plot heat.png
    mpiexec -n 2 python examples/heat_control.py --method mgrit --steps 256 --space-coarsening
    mpiexec -n 4 python examples/heat_control.py --states petsc --space-ranks 2 --dimension 2
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
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
    make_functional,
    make_grid,
    minimise,
    optimiser_options,
    output_options,
    print_prediction,
    print_result,
    run,
    solver_options,
    summary_of,
    write_all,
    write_json,
)

import pint
import pint.io
from pint.comm import split
from pint.report.files import write_atomically
from problems.heat import Heat, manufactured, zero_target

DEFAULTS = {"nu": 0.1, "alpha": 1e-2, "T": 1.0}


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("heat_control.py", description="Control of the heat equation, parallel in time.")
    new.comm = comm
    option = new.add_argument_group("problem").add_argument
    option("--control", choices=["distributed", "initial", "neumann"], default="distributed",
           help="where the control acts")  # fmt: skip
    option("--dimension", type=int, choices=[1, 2], default=1, help="of space")
    option("--points", type=integer(1), default=31, metavar="n", help="unknowns in each direction")
    option("--steps", type=integer(1), default=64, metavar="N", help="time steps")
    option("--scheme", choices=["implicit-euler", "crank-nicolson"], default="implicit-euler",
           help="time-stepping scheme")  # fmt: skip
    option("--target", choices=["zero", "manufactured"], default="zero",
           help="y_d = 0, or that of a known optimum")  # fmt: skip
    option("--states", choices=["numpy", "petsc"], default="numpy", help="what states are")
    option("--space-ranks", type=integer(1), default=1, metavar="s",
           help="ranks that share each state; petsc only")  # fmt: skip
    option("--space-coarsening", nargs="?", choices=["auto", "always"], const="auto",
           help="coarse levels have meshes of twice the width of the one before: auto, where steps "
           "are long enough for it (the default), or always")  # fmt: skip
    option("--set", type=assignment, nargs="+", action="extend", default=[], metavar="name=value",
           help="nu, alpha, T; by default 0.1, 0.01, 1")  # fmt: skip
    solver_options(new, method="sequential")
    optimiser_options(new, gradient_tolerance=1e-8, iterations=1000)
    checkpoint_options(new)
    output_options(new, plot="control and final state")
    new.add_argument("--vtk", type=OutputFolder, metavar="DIR",
                     help="folder of files for ParaView: state.pvd, and the states")  # fmt: skip
    return new


@dataclass(frozen=True)
class Setup:
    """Everything that is made of the options before the optimisation starts."""

    heat: Heat
    world: Any
    functional: pint.ReducedFunctional
    mesh: Any  # of PETSc states, else None


def make_heat(options: argparse.Namespace) -> tuple[Heat, float]:
    """Return the problem and its final time; ValueError names the option that does not fit."""
    parameters = dict(DEFAULTS)
    for name, value in options.set:
        if name not in parameters:
            raise ValueError(
                f"argument --set: there is no parameter {name!r}, only {', '.join(parameters)}"
            )
        check_size(name, value)
        parameters[name] = value
    final_time = parameters.pop("T")
    heat = Heat(options.control, options.points, options.dimension, options.scheme, **parameters)
    return heat, final_time


def check_space_coarsening(options: argparse.Namespace, heat: Heat) -> None:
    """Raise ValueError, which names the option, if no level could have a coarser mesh."""
    if heat.coarser is None:
        kind = "an even" if heat.control == "neumann" else "an odd"
        raise ValueError(
            f"argument --space-coarsening: needs {kind} number of --points, at least "
            f"{6 if heat.control == 'neumann' else 7}, got {heat.points}"
        )


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Make the problem; ValueError names the option that does not fit."""
    unknowns = options.points**options.dimension
    check_memory(options, "--points/--steps", unknowns, comm.size)
    heat, final_time = make_heat(options)
    if options.space_coarsening:
        check_space_coarsening(options, heat)
    time_comm, space_comm = split(comm, options.space_ranks)
    grid = make_grid(options, final_time, options.steps, time_comm)
    make_data = (
        partial(zero_target, heat)
        if options.target == "zero"
        else partial(manufactured, heat, final_time)
    )
    meshes: tuple[Heat, ...] = ()
    if options.space_coarsening:
        meshes = heat.meshes(grid) if options.space_coarsening == "auto" else heat.halvings
    if options.states == "petsc":
        from problems.heat_petsc import petsc_problem

        problem, mesh = petsc_problem(heat, space_comm, make_data, meshes)
    else:
        problem, mesh = heat.problem(make_data(), make_data, meshes), None
    return Setup(heat, comm, make_functional(options, problem, grid), mesh)


def order_of(setup: Setup, comm: Any) -> Any:
    """Return the places of the unknowns among those of all ranks. Collective on those in space."""
    if setup.mesh is None:
        return slice(None)
    return np.argsort(np.concatenate(comm.allgather(setup.mesh.natural)))


def mesh_of(setup: Setup) -> pint.io.Mesh:
    """Return the mesh of the states, for files. Collective on the ranks in space."""
    x = np.unique(setup.heat.coordinates[0])
    axes = [x] * setup.heat.dimension
    return pint.io.grid(*axes) if setup.mesh is None else pint.io.dmda(setup.mesh.da, *axes)


def solve(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Minimise, write what was asked for, and return the numbers of the result. Collective."""
    functional = setup.functional
    grid, space = functional.grid, functional.space
    result = minimise(options, functional, functional.control())
    control, order = result.control.gather()["u"], order_of(setup, space.comm)
    if control.shape[-1] == setup.heat.size:
        control = control[..., order]
    states = result.states()
    summary = summary_of(result, control.tolist())
    if setup.world.rank == 0:
        assert states is not None
        states = states[:, order]
        print(
            f"heat, {options.control} control, {options.method}: {grid.steps} steps on "
            f"{grid.comm.size} x {space.comm.size} ranks (time x space), {grid.levels} level(s)"
        )
        if options.space_coarsening:
            points = [
                one.heat.points if setup.mesh is None else one.equation.template.getSizes()[0]
                for one in functional.calls.steppers
            ]
            print(f"points by level     {', '.join(map(str, points))}")
        print_result(result)
        if setup.world.size == 1:
            print_prediction(options, result)
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
        arrays = {"t": np.asarray(setup.functional.grid.t), "states": states, "control.u": control}
        yield lambda: write_json(options.json, {**summary, "states": states.tolist()})
        if options.npz:
            yield lambda: pint.io.write_npz(options.npz, arrays)
        if options.history:
            yield lambda: pint.write_history(options.history, result.history)
        if options.plot:
            yield lambda: draw(options, setup, result, control, states[-1])
    if options.vtk:
        controls = ["u"] if options.control == "distributed" else []
        yield lambda: result.write_vtk(options.vtk, mesh_of(setup), controls=controls)


def draw(
    options: argparse.Namespace,
    setup: Setup,
    result: pint.Result,
    control: np.ndarray,
    final: np.ndarray,
) -> None:
    """Draw the control and the final state; needs matplotlib. Not collective."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    heat, t = setup.heat, setup.functional.grid.t
    figure.suptitle(
        f"{heat.control} control, {heat.dimension}-D, {options.method}, {len(t) - 1} steps: "
        f"J = {result.objective:.4g}"
    )
    x, shape = heat.coordinates[0], (heat.points,) * heat.dimension
    square = {"extent": (0, 1, 0, 1), "origin": "lower"}
    if heat.control == "neumann":
        left.stairs(control[:, 0], t, baseline=None)
        left.set(xlabel="time", ylabel="u", title="boundary control")
    elif heat.control == "distributed" and heat.dimension == 1:
        picture = left.pcolormesh(t, np.append(x - heat.h / 2, x[-1] + heat.h / 2), control.T)
        figure.colorbar(picture, ax=left)
        left.set(xlabel="time", ylabel="x", title="control")
    elif heat.dimension == 1:
        left.plot(x, control)
        left.set(xlabel="x", ylabel="u", title="initial control")
    else:
        block = control[0] if heat.control == "distributed" else control
        figure.colorbar(left.imshow(block.reshape(shape), **square), ax=left)
        left.set(title="control at t = 0")
    if heat.dimension == 1:
        right.plot(x, final)
        right.set(xlabel="x", ylabel="y", title="final state")
    else:
        figure.colorbar(right.imshow(final.reshape(shape), **square), ax=right)
        right.set(title="final state")
    kind = options.plot.rpartition(".")[2]
    write_atomically(options.plot, lambda file: figure.savefig(file, format=kind, dpi=120))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of the result."""
    return run(arguments, parser, set_up, solve, sizes="--points/--steps")


if __name__ == "__main__":
    main()
