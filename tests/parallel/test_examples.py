"""The options of the programs on several ranks."""

import ode_control
import pytest

OPTIONS = "--problem fishing --steps 96 --method one-shot --cycles adaptive --checkpoint-interval 0"


@pytest.fixture
def folder(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world.bcast(tmp_path))


def run(options):
    return ode_control.main([*OPTIONS.split(), *options.split()])


def test_a_resumed_run_has_the_numbers_of_an_uninterrupted_one(folder):
    expected = run("--iterations 7")
    run("--iterations 3 --checkpoint run.npz")
    resumed = run("--iterations 7 --checkpoint run.npz --resume")
    assert resumed["objective"] == pytest.approx(expected["objective"], rel=1e-9)
    assert resumed["iterations"] == 7


@pytest.mark.parametrize(
    "options",
    [
        "--checkpoint run.npz",
        "--checkpoint missing.npz --resume",
        "--checkpoint run.npz --resume --cycles 2",
        "--checkpoint run.npz --resume --steps 48",
    ],
)
def test_a_checkpoint_that_does_not_fit_is_a_wrong_argument_on_every_rank(
    options, world, folder, capsys
):
    run("--iterations 1 --checkpoint run.npz")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(options)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == (world.rank == 0)
