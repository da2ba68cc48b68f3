"""The options of the programs on several ranks."""

from pathlib import Path

import ode_control
import pytest
import train_resnet

OPTIONS = "--problem fishing --steps 96 --method one-shot --cycles adaptive"


@pytest.fixture
def folder(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world.bcast(tmp_path))


def run(options):
    return ode_control.main([*OPTIONS.split(), *options.split()])


@pytest.mark.pair
def test_a_resumed_run_has_the_numbers_of_an_uninterrupted_one(folder):
    expected = run("--iterations 7")
    run("--iterations 3 --checkpoint-interval 0 --checkpoint run.npz")
    resumed = run("--iterations 7 --checkpoint-interval 0 --checkpoint run.npz --resume")
    assert resumed["objective"] == pytest.approx(expected["objective"], rel=1e-9)
    assert resumed["iterations"] == 7


@pytest.mark.pair
@pytest.mark.parametrize(
    "options",
    [
        "--checkpoint-interval 0 --checkpoint run.npz",
        "--checkpoint-interval 0 --checkpoint missing.npz --resume",
        "--checkpoint-interval 0 --checkpoint run.npz --resume --cycles 2",
        "--checkpoint-interval 0 --checkpoint run.npz --resume --steps 48",
    ],
)
def test_a_checkpoint_that_does_not_fit_is_a_wrong_argument_on_every_rank(
    options, world, folder, capsys
):
    run("--iterations 1 --checkpoint-interval 0 --checkpoint run.npz")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(options)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == (world.rank == 0)


SMALL = "--layers 8 --final-time 1 --examples 60 --test-examples 30 --quiet"
DENSE = "--data spectra --opening pad --gamma-tikhonov 1e-3"
# What methods do on other numbers of ranks is in test_optimise.py and test_data_parallel.py.
NETWORKS = {
    "dense": f"{DENSE} --method one-shot --cycles 1",
    "sequential": f"{DENSE} --method sequential",
    "adam": f"{DENSE} --method one-shot --optimiser adam --batch 16 --epochs 2",
    "deeper": f"{DENSE} --method one-shot --start-layers 2 --coarsening 2",
    "convolutional": "--method one-shot --data digits --network convolutional --channels 2",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("dense", "convolutional") else pytest.mark.pair)
        for name in NETWORKS
    ],
)
def test_training_does_not_depend_on_the_ranks(name, world, folder):
    options = [*NETWORKS[name].split(), *SMALL.split()]
    options += [] if name == "adam" else ["--iterations", "4"]
    found = []
    for data_ranks in {1, world.size, 2 if world.size % 2 == 0 else 1}:
        numbers = train_resnet.main([*options, "--data-ranks", str(data_ranks)])
        found.append([numbers[key] for key in ("objective", "train_accuracy", "iterations")])
    for numbers in found:
        assert numbers == pytest.approx(found[0], rel=1e-8)


@pytest.mark.pair
@pytest.mark.parametrize("program", [ode_control, train_resnet])
def test_the_error_of_the_first_rank_ends_all(program, world, folder, capsys):
    """Files are looked at by one rank; the others are told."""
    if world.rank == 0:
        Path("run.npz").write_text("what was there")
    world.Barrier()
    with pytest.raises(SystemExit) as ended:
        program.main(["--checkpoint", "run.npz", "--resume", "--history", "run.npz"])
    message = capsys.readouterr().err
    assert (ended.value.code, message.count("\n")) == (2, int(world.rank == 0))


@pytest.mark.pair
def test_a_failed_run_ends_with_1_on_every_rank(world, folder, capsys):
    with pytest.raises(SystemExit) as ended:
        train_resnet.main(
            "--method sequential --layers 8 --final-time 200 --activation relu --line-search none "
            "--seed 1 --examples 40 --quiet".split()
        )
    message = capsys.readouterr().err
    assert (ended.value.code, message.count("\n")) == (1, int(world.rank == 0))
