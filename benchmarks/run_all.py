"""Run the benchmarks one after the other, each with one BLAS thread: what ``make bench`` does.

    python benchmarks/run_all.py run_all [--quick] [--output FOLDER] [NAME ...]

Tables are printed; ``results/benchmarks`` receives a CSV file and a picture for each. Names are
those of `CASES`; a new benchmark gets a line there. It is a program of its own with the options of
`measuring.options_of`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from measuring import NOT_INSTALLED, RESULTS, ROOT, THREADS, machine, mpi_command

CASES = (
    "front_page",
    "network_gradient",
    "module_gradient",
    "module_update",
    "device",
    "convolution_step",
    "one_shot_on_two_ranks",
    "heat_against_pymgrit",
    "decay_against_pymgrit",
    "van_der_pol_in_parallel",
    "petsc_heat",
    "petsc_step",
    "implicit_solves",
    "chunk_size",
    "lagged_cycles",
    "diagnosis",
    "space_coarsening",
    "coarse_steps",
    "sparse_theta",
    "advection",
    "finite_elements",
    "delta_correction",
    "storage",
    "threads_and_data_parallelism",
    "mini_batches",
    "bias_control",
    "quasi_newton",
    "newton_cg",
    "compiled_steps",
    "compiled_optimisation",
    "all_at_once",
    "lq_solvers",
)


def print_machine() -> None:
    """Print what the numbers depend on."""
    print(machine(("numpy", "scipy", "numba", "jax", "torch", "pymgrit")), end=", ")
    print("MPI and PETSc", "found" if mpi_command() else NOT_INSTALLED, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks; return the number of those that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--quick", action="store_true", help="small sizes: a trial")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of tables, pictures")
    options = parser.parse_args(arguments)
    for name in options.cases:
        if name not in CASES:
            parser.error(f"{name!r} is none of {', '.join(CASES)}")
    print_machine()
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    environment["PYTHONPATH"] = str(ROOT)
    failed = []
    for name in options.cases or CASES:
        program = Path(__file__).with_name(f"{name}.py")
        command = [sys.executable, str(program), "--output", str(options.output)]
        start = time.perf_counter()
        status = subprocess.call(command + ["--quick"] * options.quick, env=environment)
        print(f"\n{name}: {time.perf_counter() - start:.0f} s", flush=True)
        if status:
            failed.append(name)
    print("tables and pictures:", options.output)
    if failed:
        print("failed:", ", ".join(failed))
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
