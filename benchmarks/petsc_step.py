"""What a step on PETSc vectors costs beside its linear solve, and what 2,000 solves leave.

    y_t = Laplace(y) + u on (0, 1)^2,  y = 0 on the boundary,  implicit Euler

Three tables. The first has the median times of one `KSPSolve` and one `KSPSolveTranspose` with LU
factors, and those of a whole `pint.petsc.ImplicitStep` and of its transpose, which lend states,
build the right-hand side, solve and return the result; all are called in turn, and the ratios are
of medians. The second compares Newton's method with and without factors that serve several
iterations (the Allen-Cahn equation on 64 x 64 cells, 16 steps). The third has the growth of the
resident memory from a tenth of the solves to their end: value and gradient of numpy and of PETSc
states, on one rank and on two ranks in space, the latter with temporary vectors in the callbacks of
a nonlinear equation.

    python benchmarks/run_all.py petsc_step [--quick]

Needs an environment with MPI and PETSc: this Python's, or ``.venv-petsc`` (``make environment``).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import (
    NOT_INSTALLED,
    Row,
    mpi_command,
    on_ranks,
    options_of,
    plot_bars,
    print_table,
    save,
)


def heat(cells: int, comm: Any) -> Any:
    """Return the equation on a mesh of `cells` by `cells` unknowns."""
    from petsc4py import PETSc

    from pint.petsc import LinearEquation

    petsc_comm = PETSc.COMM_SELF if comm.size == 1 else comm
    mesh = PETSc.DMDA().create([cells] * 2, stencil_width=1, comm=petsc_comm)
    matrix = mesh.createMatrix()
    row, column, h = PETSc.Mat.Stencil(), PETSc.Mat.Stencil(), 1 / (cells + 1)
    (i_first, i_last), (j_first, j_last) = mesh.getRanges()
    for j in range(j_first, j_last):
        for i in range(i_first, i_last):
            row.index = (i, j)
            for place in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1), (i, j)):
                if all(0 <= number < cells for number in place):
                    column.index = place
                    matrix.setValueStencil(row, column, (-4.0 if place == (i, j) else 1.0) / h**2)
    matrix.assemble()
    return LinearEquation(matrix, controls={"u": 1.0}, template=mesh)


def cost(cells: int, repeats: int) -> None:
    """Print the medians of solves, steps and transposed steps, as JSON."""
    import pint
    from pint.petsc import ImplicitAdjoint, ImplicitStep

    step = ImplicitStep(heat(cells, pint.SerialComm()))
    adjoint, space = ImplicitAdjoint(step), step.space
    rows = space.allocate(3)
    rows[0] = np.random.default_rng(0).standard_normal(space.shape)
    s, u = pint.Steps(0, 0.0, 1e-3), {"u": np.ones(space.shape)}
    lent_step, lent_vjp = space.native(step.step, (1,)), space.native(adjoint.vjp, (1, 4))

    def whole_step() -> None:
        rows[1] = lent_step(s, rows[0], u, {})

    def whole_transpose() -> None:
        rows[2] = lent_vjp(s, rows[0], u, {}, rows[1])[0]

    whole_step()
    (solver,) = step._solvers.values()
    right, result = (solver.matrix.createVecLeft() for _ in range(2))
    right.array[:] = rows[0]
    functions = {
        "solve": lambda: solver.ksp.solve(right, result),
        "transposed solve": lambda: solver.ksp.solveTranspose(right, result),
        "step": whole_step,
        "transpose": whole_transpose,
    }
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            function()
            seconds[name].append(time.process_time() - start)
    print(json.dumps({name: float(np.median(times)) for name, times in seconds.items()}))


def kept_factors(cells: int, steps: int, repeats: int) -> None:
    """Print what Newton's method takes with and without keeping factors, as JSON.

    For each value of `reuse` the median CPU time, the solves and the set-ups of a state solve.
    """
    import pint
    from pint.equations import March
    from problems.allen_cahn_petsc import AllenCahn, allen_cahn_problem

    functionals = {
        reuse: pint.ReducedFunctional(
            allen_cahn_problem(AllenCahn(cells), pint.SerialComm(), reuse=reuse),
            pint.TimeGrid.uniform(0.1, steps),
        )
        for reuse in (0.0, 0.1)
    }
    seconds: dict[float, list[float]] = {reuse: [] for reuse in functionals}
    for _ in range(repeats):
        for reuse, functional in functionals.items():
            state, control = functional.state.new(), functional.control(u=0.1)
            start = time.process_time()
            functional.state.solve(state, control, March())
            seconds[reuse].append(time.process_time() - start)
    rows = []
    for reuse, functional in functionals.items():
        counts = functional.problem.stepper.counts
        rows.append({
            "reuse": reuse, "seconds": float(np.median(seconds[reuse])),
            "solves": counts.solves // repeats, "set up": counts.set_ups // repeats,
        })  # fmt: skip
    print(json.dumps(rows))


def nonlinear(comm: Any, size: int) -> Any:
    """Return a problem of ``y' = u - y^3`` whose callbacks make temporary vectors."""
    from petsc4py import PETSc

    import pint
    from pint.petsc import Equation, ImplicitAdjoint, ImplicitStep

    petsc_comm = PETSc.COMM_SELF if comm.size == 1 else comm
    mesh = PETSc.DMDA().create([size * comm.size], stencil_width=1, comm=petsc_comm)

    class Cubic(Equation):
        template, controls, initial_state = mesh, {"u": 1.0}, np.ones(size)

        def f(self, t: float, y: Any, u: Any, theta: Any, out: Any) -> None:
            cube = y.copy()
            cube.pointwiseMult(cube, y)
            cube.pointwiseMult(cube, y)
            out.set(0.0)
            out.axpy(-1.0, cube)

        def jacobian(self, t: float, y: Any, u: Any, theta: Any, matrix: Any) -> None:
            squares = y.duplicate()
            squares.pointwiseMult(y, y)
            squares.scale(-3.0)
            matrix.setDiagonal(squares)

    options = {"ksp_type": "preonly", "pc_type": "jacobi"}
    step = ImplicitStep(Cubic(), options=options)
    controls = {"u": pint.TimeControl(size, comm=comm)}
    return pint.Problem(step, ImplicitAdjoint(step), _end(), controls)


def with_arrays(size: int) -> Any:
    """Return a problem of ``y' = u - y^3`` with numpy states."""
    import pint
    from pint.steppers import ODE

    class Cubic(ODE):
        initial_state = np.ones(size)

        def f(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
            return u["u"] - y**3

        def f_vjp(self, t: Any, y: Any, u: Any, theta: Any, lam: Any) -> Any:
            return -3 * y**2 * lam, {"u": lam}, {}

    step, adjoint = pint.steppers.scheme(Cubic(), "rk2")
    return pint.Problem(step, adjoint, _end(), {"u": pint.TimeControl(size)})


def _end() -> Any:
    import pint

    class End(pint.Objective):
        def terminal(self, y: Any, theta: Any) -> Any:
            return 0.5 * (y.dot(y) if hasattr(y, "axpy") else y @ y)

        def terminal_derivative(self, y: Any, theta: Any) -> Any:
            return y.copy(), {}

    return End()


def memory(kind: str, solves: int, size: int) -> None:
    """Print the resident memory after a tenth of the solves and at the end, as JSON."""
    import pint

    comm = pint.world()
    problem = with_arrays(size) if kind == "numpy" else nonlinear(comm, size)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 2))
    sizes = []
    for number in range(1, solves + 1):
        functional.gradient(functional.control(u=0.5 + 0.5 / number))
        if number in (solves // 10, solves):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            sizes.append(pages * resource.getpagesize())
    sizes = comm.allgather(sizes)
    if comm.rank == 0:
        print(json.dumps({"before": max(s[0] for s in sizes), "after": max(s[1] for s in sizes)}))


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the tables, and write the first with a picture; return its rows."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--cost"]:
        cost(*map(int, arguments[1:]))
        return []
    if arguments[:1] == ["--reuse"]:
        kept_factors(*map(int, arguments[1:]))
        return []
    if arguments[:1] == ["--memory"]:
        memory(arguments[1], *map(int, arguments[2:]))
        return []
    options = options_of(__doc__, arguments, repeats=100)
    command = mpi_command()
    if command is None:
        rows: list[Row] = [{"unknowns": NOT_INSTALLED}]
        print_table("Steps with PETSc: no MPI and PETSc, see `make environment`", rows)
        return rows
    rows = []
    for cells in (16,) if options.quick else (64, 256):
        found = on_ranks(command, 1, __file__, "--cost", str(cells), str(options.repeats))
        rows.append({
            "unknowns": f"{cells} x {cells}",
            **{f"{name} (us)": 1e6 * seconds for name, seconds in found.items()},
            "step/solve": found["step"] / found["solve"],
            "transpose/its solve": found["transpose"] / found["transposed solve"],
        })  # fmt: skip
    print_table("A step beside the KSP solve that it contains (CPU time, medians)", rows)
    sizes = (8, 4, 1) if options.quick else (64, 16, 6)
    reused = on_ranks(command, 1, __file__, "--reuse", *map(str, sizes))
    print_table("State solves of the Allen-Cahn equation, Crank-Nicolson, LU (CPU time)", reused)
    solves, size = (60, 2000) if options.quick else (2000, 10_000)
    growths: list[Row] = []
    for kind, ranks in (("numpy", 1), ("petsc", 1), ("petsc", 2)):
        program = (__file__, "--memory", kind, str(solves), str(size))
        found = on_ranks(command, ranks, *program)
        growths.append({
            "states": kind, "ranks in space": ranks, "value and gradient": solves,
            "before (MB)": found["before"] / 1e6,
            "growth (%)": 100 * (found["after"] / found["before"] - 1),
        })  # fmt: skip
    print_table("Growth of the memory, by the rank that has most", growths)
    save("petsc_step", rows, options.output)
    plot_bars(
        options.output / "petsc_step.png",
        "A step beside its KSP solve",
        {
            f"{row['unknowns']} {name}": row[f"{name} (us)"] * 1e-6
            for row in rows
            for name in ("solve", "step", "transposed solve", "transpose")
        },
    )
    return rows


if __name__ == "__main__":
    main()
