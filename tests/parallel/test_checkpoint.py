"""A run goes on with the same iterates on as many ranks as there are, and on one again."""

import linear_quadratic
import numpy as np
import pytest
from checkpoint_cases import METHODS, PROBLEMS, assert_same_run, bounded, solve
from parallel.cases import finished

import pint
from pint.comm import on_root

SAVED, UPDATES = 4, 10


@pytest.fixture
def folder(world, tmp_path_factory):
    """Return a folder that all ranks share."""
    return on_root(world, lambda: tmp_path_factory.mktemp("checkpoint"))


def save(path, comm, problem, method):
    solve(problem, method, comm, iterations=SAVED, checkpoint=pint.Checkpoint(path), callback=None)


def resume(path, comm, problem, method, **options):
    checkpoint = pint.Checkpoint(path, resume=True)
    return solve(problem, method, comm, iterations=UPDATES, checkpoint=checkpoint, **options)


CASES = [*(("network", method) for method in METHODS), *((name, "one-shot") for name in PROBLEMS)]


@pytest.mark.parametrize(("problem", "method"), dict.fromkeys(CASES))
def test_from_and_to_any_number_of_ranks(world, folder, problem, method):
    serial = pint.SerialComm()
    of_world, of_one, copy = (folder / f"{name}.npz" for name in ("world", "one", "copy"))
    save(of_world, world, problem, method)

    def on_one_rank():
        save(of_one, serial, problem, method)
        copy.write_bytes(of_world.read_bytes())
        whole, expected = solve(problem, method, serial, iterations=UPDATES)
        resumed, controls = resume(copy, serial, problem, method)
        return (finished(whole), expected), (finished(resumed), controls)

    (whole, expected), on_one = on_root(world, on_one_rank)
    for resumed, controls in (
        resume(of_world, world, problem, method),
        resume(of_one, world, problem, method),
        on_one,
    ):
        assert min(controls) == SAVED + 1
        assert_same_run(resumed, whole, controls, expected, 1e-8)


@pytest.mark.parametrize("method", ["mgrit", "one-shot", "adaptive"])
def test_on_the_same_ranks_it_is_the_uninterrupted_run(world, folder, method):
    whole, expected = solve("network", method, world, iterations=UPDATES)
    save(folder / "run.npz", world, "network", method)
    resumed, controls = resume(folder / "run.npz", world, "network", method)
    assert_same_run(resumed, whole, controls, expected, 1e-10)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_more_ranks_than_c_points(world, folder, steps):
    def run(comm, iterations, checkpoint=None):
        grid = pint.TimeGrid.uniform(1.0, steps, 2, min(steps, 2), comm)
        functional = pint.ReducedFunctional(linear_quadratic.DOUBLE_INTEGRATOR.problem(), grid)
        method = pint.ReducedSpace(gradient_tolerance=0.0, iterations=iterations)
        start = functional.control(u=0.5)
        return pint.minimize(functional, start, method, checkpoint=checkpoint)

    whole = run(pint.SerialComm(), iterations=6)
    run(world, iterations=2, checkpoint=pint.Checkpoint(folder / "run.npz"))
    again = run(world, iterations=6, checkpoint=pint.Checkpoint(folder / "run.npz", resume=True))
    np.testing.assert_allclose(again.control.gather()["u"], whole.control["u"], rtol=0, atol=1e-8)


def test_the_random_generator_is_the_same_on_all_ranks(world, folder):
    for last in (2, 4):
        random = np.random.default_rng(world.rank if last == 4 else 0)
        checkpoint = pint.Checkpoint(folder / "run.npz", resume=last == 4, random=random)
        solve(
            "bounded",
            "one-shot",
            world,
            iterations=last,
            checkpoint=checkpoint,
            callback=lambda *_, random=random: random.random(),
        )
    expected = np.random.default_rng(0)
    expected.random(5)
    assert set(world.allgather(random.random())) == {expected.random()}


def test_every_rank_refuses_alike_and_goes_on(world, folder):
    path = folder / "run.npz"
    save(path, world, "bounded", "one-shot")
    whole = path.read_bytes()

    def refused(resume, levels, error):
        functional, start = bounded(levels, world)
        with pytest.raises(error) as caught:
            checkpoint = pint.Checkpoint(path, resume=resume)
            pint.minimize(functional, start, pint.OneShot(), checkpoint=checkpoint)
        assert set(world.allgather(str(caught.value))) == {str(caught.value)}
        return str(caught.value)

    assert "exists" in refused(False, 2, ValueError)
    assert "coarsening" in refused(True, 3, ValueError)
    assert path.read_bytes() == whole
    world.Barrier()
    for content in (whole[:100], whole[:-10], b""):
        on_root(world, lambda content=content: path.write_bytes(content))
        assert "not a readable" in refused(True, 2, ValueError)
        assert path.read_bytes() == content
        world.Barrier()
    on_root(world, path.unlink)
    assert "no file" in refused(True, 2, OSError)
    on_root(world, path.mkdir)
    assert "folder" in refused(False, 2, OSError)


def test_rank_0_decides_whether_to_resume(world, folder):
    """Ranks that look for a file by themselves may find different answers."""
    path = folder / "run.npz"
    save(path, world, "bounded", "one-shot")
    functional, start = bounded(2, world)
    checkpoint = pint.Checkpoint(path, resume=world.rank == 0)
    method = pint.OneShot(iterations=SAVED)
    result = pint.minimize(functional, start, method, checkpoint=checkpoint)
    assert result.iterations == SAVED
