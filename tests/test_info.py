"""`python -m pint.info`: what a report of a fault should say."""

import subprocess
import sys
from importlib import metadata

import numpy as np

import pint
from pint.info import report


def test_report_names_versions_and_what_is_not_there():
    lines = report()

    assert lines["pint"].startswith(pint.__version__)
    assert lines["numpy"] == np.__version__
    for name in ("mpi4py", "torch", "jax", "meshio"):
        try:
            assert lines[name] == metadata.version(name)
        except metadata.PackageNotFoundError:
            assert lines[name] == "not installed"
    assert lines["MPI"].startswith("none (") == (lines["mpi4py"] == "not installed")


def test_program_prints_every_line():
    done = subprocess.run(
        [sys.executable, "-m", "pint.info"], capture_output=True, text=True, timeout=120, check=True
    )
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == list(report())


def test_version_of_the_package_is_that_of_its_metadata():
    assert metadata.version("pint-control") == pint.__version__
