"""Tests of distributed runs: by plain pytest on one rank, or by all ranks of an mpiexec together.

Every rank runs the same tests in the same order and compares with a serial computation of its
own, so that each sees its own failures.
"""

import sys

import pytest

import pint

WORLD = pint.world()


@pytest.fixture(scope="session")
def world():
    """Return the communicator of all ranks."""
    return WORLD


def end_all_ranks(report):
    """Print a failure and end all ranks: the others may wait for messages of this one."""
    if report.failed and WORLD.size > 1:
        text = f"rank {WORLD.rank} of {WORLD.size}: {report.nodeid}\n{report.longreprtext}\n"
        sys.__stderr__.write(text)
        sys.__stderr__.flush()
        WORLD.Abort(1)


pytest_runtest_logreport = end_all_ranks
pytest_collectreport = end_all_ranks
