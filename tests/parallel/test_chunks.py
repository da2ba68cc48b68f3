"""Values and blocks of any size reach the other ranks; large ones go in chunks."""

import numpy as np
import pytest

import pint
from pint.comm import broadcast, chunks, gather_rows, gather_rows_on_root, on_root

CHUNKS = [100, 1000, 2**29]


@pytest.fixture(params=CHUNKS)
def chunk(request, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", request.param)
    return request.param


def content(seed=0):
    random = np.random.default_rng(seed)
    large = random.standard_normal((40, 30))
    return {
        "large": large,
        "columns": np.asfortranarray(large[:7]),
        "part": large[::2, 1:],
        "empty": np.zeros((0, 3)),
        "flags": large > 0,
        "text": "a text " * 100,
        "small": (1, 2.5, None, np.float64(3.0)),
        "words": np.array(["a", "bc"] * 200),
    }


@pytest.mark.parametrize("root", [0, -1])
def test_every_rank_gets_the_value(world, chunk, root):
    root %= world.size
    found = broadcast(world, content() if world.rank == root else None, root)
    for name, value in content().items():
        np.testing.assert_array_equal(found[name], value)
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype
            found[name][...] = found[name]  # it is the rank's own


def test_what_the_first_rank_reads(world, chunk):
    found = on_root(world, lambda: content(3)["large"])
    np.testing.assert_array_equal(found, content(3)["large"])
    with pytest.raises(ValueError, match="as large as that"):
        on_root(world, lambda: raise_error("as large as that " * 100))


def raise_error(text):
    raise ValueError(text)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("lengths", [(3, 0, 50, 1, 7), (0, 0, 0, 0, 2), (40, 40, 40, 40, 40)])
def test_blocks_one_after_the_other(world, chunk, axis, lengths):
    def block(rank):
        shape = [6, 5]
        shape[axis] = lengths[rank % 5]
        return np.random.default_rng(rank).standard_normal(shape)

    expected = np.concatenate([block(rank) for rank in range(world.size)], axis=axis)
    np.testing.assert_array_equal(gather_rows(world, block(world.rank), axis), expected)
    on_one = gather_rows_on_root(world, block(world.rank), axis)
    assert (on_one is None) == (world.rank > 0)
    if on_one is not None:
        np.testing.assert_array_equal(on_one, expected)


def test_controls_and_checkpoints_in_chunks(world, chunk, tmp_path_factory):
    from checkpoint_cases import pendulum

    folder = on_root(world, lambda: tmp_path_factory.mktemp("chunks"))
    functional, start = pendulum(2, world)
    start.save(folder / "start.npz")
    loaded = functional.controls.load(folder / "start.npz")
    np.testing.assert_array_equal(loaded.vector, start.vector)
    for iterations in (2, 4):
        method = pint.OneShot(iterations=iterations, gradient_tolerance=0.0)
        checkpoint = pint.Checkpoint(folder / "run.npz", resume=iterations == 4)
        result = pint.minimize(functional, start, method, checkpoint=checkpoint)
    serial, serial_start = pendulum(2)
    expected = pint.minimize(serial, serial_start, method)
    assert result.objective == pytest.approx(expected.objective, rel=1e-10)
    states = result.states()
    if world.rank == 0:
        np.testing.assert_allclose(states, expected.states(), rtol=0, atol=1e-9)
