"""Communicators: the serial stand-in, the launcher check, and ending all ranks."""

import sys

import numpy as np
import pytest

import pint
from pint.comm import alike, ending_all_ranks, on_root, reduce


class TwoRanks:
    """A communicator of size two that only knows how to be aborted."""

    rank, size = 1, 2

    def __init__(self):
        self.aborted_with = []

    def Abort(self, code):  # noqa: N802
        self.aborted_with.append(code)


def test_serial_communicator_hands_back_what_it_is_given():
    comm = pint.SerialComm()
    assert (comm.rank, comm.size) == (0, 1)
    received, value = np.zeros(2), object()
    comm.Allreduce(np.array([1.0, 2.0]), received)
    np.testing.assert_array_equal(received, [1.0, 2.0])
    comm.Bcast(received, root=0)
    np.testing.assert_array_equal(received, [1.0, 2.0])
    assert comm.bcast(value) is value
    assert comm.allgather(value) == [value]
    assert comm.Barrier() is None


@pytest.mark.parametrize("operation", ["sum", "min", "max"])
def test_reduction_over_one_rank_is_the_value_as_a_vector(operation):
    np.testing.assert_array_equal(reduce(pint.SerialComm(), 3, operation), [3.0])
    np.testing.assert_array_equal(reduce(pint.SerialComm(), [1.0, 2.0], operation), [1.0, 2.0])


def test_on_root_hands_on_results_and_errors():
    assert on_root(pint.SerialComm(), lambda: 7) == 7
    for error in (OSError, ValueError, TypeError, KeyError, MemoryError):

        def fail(error=error):
            raise error("no such thing")

        with pytest.raises(error, match="no such thing"):
            on_root(pint.SerialComm(), fail)


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
@pytest.mark.parametrize("without_mpi4py", [False, True])
def test_processes_that_cannot_see_each_other_are_an_error(monkeypatch, variable, without_mpi4py):
    pint.world()  # MPI reads these variables when it starts
    if without_mpi4py:
        monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setenv(variable, "4")
    with pytest.raises(RuntimeError, match=r"launcher started 4 processes.*mpi4py"):
        pint.world()


def test_one_launched_process_and_no_mpi4py_is_serial(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    assert isinstance(pint.world(), pint.SerialComm)


def test_an_exception_on_one_rank_ends_all(capsys):
    comm = TwoRanks()
    with pytest.raises(ZeroDivisionError), ending_all_ranks(comm):
        raise ZeroDivisionError("the user's mistake")
    assert comm.aborted_with == [1]
    message = capsys.readouterr().err
    assert "rank 1 of 2" in message
    assert "the user's mistake" in message
    assert "test_comm.py" in message  # the traceback


def test_errors_of_all_ranks_and_normal_ends_pass(capsys):
    comm = TwoRanks()
    with ending_all_ranks(comm):
        pass
    with pytest.raises(KeyError), ending_all_ranks(comm), ending_all_ranks(comm):
        raise alike(KeyError("on all ranks"))
    assert comm.aborted_with == []
    assert capsys.readouterr().err == ""


def test_no_type_of_error_passes(capsys):
    for kind in (pint.NotFiniteError, pint.CheckpointError, KeyboardInterrupt, StopIteration):
        comm = TwoRanks()
        with pytest.raises(kind), ending_all_ranks(comm):
            raise kind("of this rank")
        assert comm.aborted_with == [1]
    assert "of this rank" in capsys.readouterr().err


def test_one_rank_just_raises(capsys):
    with pytest.raises(ValueError, match="plain"), ending_all_ranks(pint.SerialComm()):
        raise ValueError("plain")
    assert capsys.readouterr().err == ""
