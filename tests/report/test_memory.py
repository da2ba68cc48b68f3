"""Peak memory: in bytes, of this process, 0 where it cannot be known."""

import resource
import sys

import numpy as np
from linear_quadratic import DOUBLE_INTEGRATOR

import pint
from pint.report import memory


def test_it_grows_by_what_is_held():
    before = memory.peak_memory()
    held = np.ones(before // 8 + 2**21)  # more than ever before, by 16 MB
    after = memory.peak_memory()
    assert 1e6 < before
    assert held.nbytes <= 1.01 * after < before + 2 * held.nbytes
    del held
    assert memory.peak_memory() >= 0.99 * after  # the kernel counts pages inexactly


def test_without_the_status_of_the_process(monkeypatch):
    with_it = memory.peak_memory()
    monkeypatch.setattr(memory, "STATUS", "/no/such/file")
    assert memory.peak_memory() >= 0.5 * with_it


def test_bytes_on_macos(monkeypatch):
    monkeypatch.setattr(memory, "STATUS", "/no/such/file")
    in_kilobytes = memory.peak_memory() // 1024
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.peak_memory() >= in_kilobytes > 0
    assert memory.peak_memory() < 10 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_zero_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(memory, "STATUS", "/no/such/file")
    monkeypatch.setattr(memory, "resource", None)
    assert memory.peak_memory() == 0
    assert memory.peak_memory_of_ranks(pint.SerialComm(), pint.SerialComm()) == (0,)


def test_a_result_has_one_number_for_each_rank():
    grid = pint.TimeGrid.uniform(1.0, 20, 4, 2)
    functional = pint.ReducedFunctional(DOUBLE_INTEGRATOR.problem(), grid)
    for method in (
        pint.ReducedSpace(iterations=1),
        pint.External("scipy:L-BFGS-B", iterations=1),
        pint.OneShot(iterations=1),
    ):
        result = pint.minimize(functional, method=method)
        (peak,) = result.peak_memory
        assert isinstance(peak, int) and 1e6 < peak <= memory.peak_memory()
