"""Logs: nothing is shown unless the program sets up logging."""

import logging
import subprocess
import sys

import numpy as np
import pytest
from recursions import Recursion

import pint

WARN = "import logging, pint; {}logging.getLogger('pint.mgrit').warning('diverges')"


@pytest.mark.parametrize(
    ("set_up", "shown"), [("", False), ("logging.basicConfig(); ", True)], ids=["silent", "shown"]
)
def test_a_warning_is_shown_if_the_program_sets_up_logging(set_up, shown):
    code = WARN.format(set_up)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert ("diverges" in done.stderr) == shown
    assert bool(done.stderr) == shown


def test_a_solve_says_how_far_it_came(caplog):
    caplog.set_level(logging.DEBUG, "pint.mgrit")
    solver = pint.MGRIT(pint.TimeGrid.uniform(1.0, 16, 2, 2), pint.ArraySpace(1))
    y = solver.allocate()
    y[0] = 1.0
    convergence = solver.solve(Recursion([np.ones(16), np.zeros(8)]), y, pint.Accuracy(3))
    assert caplog.messages == [f"3 cycles, last residual {convergence.residual:.3e}"]
