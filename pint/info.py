"""What this installation consists of: ``python -m pint.info``, for reports of faults."""

from __future__ import annotations

import importlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import pint
from pint.comm import mpi_version
from pint.steppers.compiled.cache import folder

_PACKAGES = (
    "numpy", "scipy", "mpi4py", "petsc4py", "sympy", "numba", "torch", "jax", "scikit-fem",
    "meshio", "scikit-learn", "matplotlib", "tqdm",
)  # fmt: skip
_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def report() -> dict[str, str]:
    """Return what is installed, a line each: versions, MPI, PETSc, devices, threads, caches.

    Imports PyTorch, JAX, mpi4py and petsc4py where they are there; what is not, or cannot be
    used, is said in its line. Not collective.
    """
    lines = {
        "pint": f"{pint.__version__} in {Path(pint.__file__).parent}",
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "cores": str(os.cpu_count()),
    }
    lines |= {name: _version(name) for name in _PACKAGES}
    lines["MPI"] = mpi_version()
    lines |= {name: _asked(question) for name, question in _QUESTIONS.items()}
    lines["threads"] = ", ".join(f"{name}={os.environ.get(name, 'not set')}" for name in _THREADS)
    lines["machine code"] = _machine_code(folder())
    return lines


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _asked(question: Any) -> str:
    """Return the answer to a question that needs an optional package."""
    try:
        return str(question())
    except ImportError:
        return "not installed"
    # A package of another MPI or driver may fail in any way, and that is what a report is for.
    except Exception as error:
        return f"cannot be used: {type(error).__name__}: {error}".splitlines()[0]


def _petsc() -> str:
    PETSc = importlib.import_module("petsc4py.PETSc")
    version = ".".join(map(str, PETSc.Sys.getVersion()))
    return f"{version}, {PETSc.ScalarType.__name__}, integers of {PETSc.IntType().nbytes} bytes"


def _torch_devices() -> str:
    torch = importlib.import_module("torch")
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *(f"cuda:{i} {name}" for i, name in enumerate(cards))])


def _jax_devices() -> str:
    return ", ".join(str(device) for device in importlib.import_module("jax").devices())


_QUESTIONS = {
    "PETSc": _petsc,
    "devices of PyTorch": _torch_devices,
    "devices of JAX": _jax_devices,
}


def _machine_code(place: Path) -> str:
    if not place.is_dir():
        return f"{place}, nothing kept"
    sizes = [path.stat().st_size for path in place.rglob("*") if path.is_file()]
    return f"{place}, {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB"


def main() -> None:
    """Print the report."""
    lines = report()
    width = max(map(len, lines))
    for name, text in lines.items():
        print(f"{name:<{width}}  {text}")  # noqa: T201  (a program)


if __name__ == "__main__":
    main()
