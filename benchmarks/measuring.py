"""What the benchmarks share: timings in turn, tables, files, pictures, and where MPI is."""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "benchmarks"
NOT_INSTALLED = "not installed"
# Of the BLAS libraries; they read them when they are loaded, so that `run_all` sets them.
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

Row = dict[str, Any]


def options_of(
    doc: str | None,
    arguments: Sequence[str] | None,
    repeats: int,
    more: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """Return the options that all benchmarks have, and `more` by their names."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, two repeats: a trial")
    parser.add_argument("--repeats", type=int, help=f"calls of each in turn (default {repeats})")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of table and picture")
    for name, kind in (more or {}).items():
        parser.add_argument(name, **kind)
    options = parser.parse_args(arguments)
    options.repeats = options.repeats or (2 if options.quick else repeats)
    return options


def installed(module: str) -> bool:
    """Whether a module is there and can be imported."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError):  # without a shared library: OSError, RuntimeError
        return False
    return True


def machine(packages: Sequence[str]) -> str:
    """Return what numbers depend on: the processor, its load, and versions of packages."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    text = f"{model}, {cores} cores, load {load:.1f}, Python {platform.python_version()}"
    for name in packages:
        text += f", {name} {version(name) if installed(name) else NOT_INSTALLED}"
    return text


Functions = Mapping[str, Callable[[], Any]]


def timings(functions: Functions, repeats: int, *, warm: bool = False) -> dict[str, list[float]]:
    """Return the seconds of each call, the functions called in turn: A, B, A, B, ...

    One call of each comes before, and is not counted, unless they are warm.
    """
    for function in functions.values() if not warm else ():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(functions: Functions, repeats: int, *, warm: bool = False) -> dict[str, float]:
    """Return the median of the `timings` of each function."""
    seconds = timings(functions, repeats, warm=warm)
    return {name: statistics.median(several) for name, several in seconds.items()}


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print rows under the names of their columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    print(f"\n{title}\n")
    for line in [columns, *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    sys.stdout.flush()


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def save(name: str, rows: Sequence[Row], folder: Path) -> None:
    """Write ``folder/name.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def plot_lines(
    path: Path, title: str, x_label: str, lines: Mapping[str, Mapping[float, float]]
) -> None:
    """Draw seconds over a size, both logarithmic; nothing without matplotlib."""
    if not installed("matplotlib"):
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        axes.loglog(list(points), list(points.values()), "o-", label=name)
    axes.set(title=title, xlabel=x_label, ylabel="seconds")
    axes.legend()
    figure.savefig(path, dpi=150)


def plot_bars(path: Path, title: str, numbers: Mapping[str, float], unit: str = "seconds") -> None:
    """Draw numbers as bars, logarithmic; nothing without matplotlib."""
    if not installed("matplotlib"):
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 1 + 0.4 * len(numbers)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(numbers), list(numbers.values()))
    axes.bar_label(bars, fmt="%.3g s" if unit == "seconds" else "%.3g", padding=3)
    axes.set(title=title, xlabel=unit, xscale="log")
    axes.margins(x=0.2)
    axes.invert_yaxis()
    figure.savefig(path, dpi=150)


# Ranks


def mpi_command() -> tuple[str, str] | None:
    """Return an mpiexec and a Python with mpi4py and petsc4py that belong together, or None.

    This Python's own, or those of ``.venv-petsc``, which ``make environment`` makes.
    """
    for folder in (Path(sys.prefix), ROOT / ".venv-petsc"):
        mpiexec, python = folder / "mpiexec", folder / "bin" / "python"
        if mpiexec.is_file() and python.exists():
            return mpiexec.read_text(encoding="utf-8").strip(), str(python)
    return None


def on_ranks(command: tuple[str, str], ranks: int, *program: str, threads: int = 1) -> Any:
    """Run a Python program on some ranks; return the JSON of the last line that it prints."""
    mpiexec, python = command
    # A process that has used MPI by itself has variables of its own rank, which confuse mpiexec.
    own = (
        "PMIX_",
        "OMPI_COMM_",
        "OMPI_MCA_ess",
        "OMPI_MCA_orte_",
        "OMPI_MCA_pmix",
        "OMPI_UNIVERSE",
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(own)},
        **{variable: str(threads) for variable in THREADS},
        "PYTHONPATH": str(ROOT),
        # More ranks than cores, and as root, which Open MPI refuses unless told.
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        # A rank that waits gives its core away: others may use the machine.
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "OMPI_MCA_hwloc_base_binding_policy": "none",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "PRTE_MCA_hwloc_default_binding_policy": "none",
    }
    process = subprocess.run(
        [mpiexec, "-n", str(ranks), python, *program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if process.returncode:
        raise RuntimeError(f"{' '.join(program)} failed:\n{process.stdout}{process.stderr}")
    return json.loads(process.stdout.splitlines()[-1])
