"""The first run compares both methods by the same work, and writes picture and history."""

from dataclasses import replace

import first_run
import pytest
import train_resnet

from pint import Lagged, SerialComm, Status


def test_both_methods_and_their_files(tmp_path, capsys):
    """The sequential numbers are those of `train_resnet.py`."""
    picture, table = tmp_path / "peaks.png", tmp_path / "history.csv"
    small = ["--layers", "16", "--examples", "60", "--updates", "4", "--coarsening", "4"]
    found = first_run.main([*small, "--plot", str(picture), "--history", str(table)])
    options = ["--layers", "16", "--examples", "60", "--iterations", "4", "--quiet"]
    exact = train_resnet.main([*options, "--method", "sequential", "--test-examples", "10000"])
    assert found["sequential"]["objective"] == pytest.approx(exact["objective"], rel=1e-10)
    for name in ("training", "validation"):
        key = f"{name.replace('training', 'train')}_accuracy"
        assert found["sequential"][name] == exact[key]
    assert found["parallel"]["objective"] == pytest.approx(exact["objective"], rel=0.1)
    assert found["parallel"]["updates"] == found["sequential"]["updates"] == 4
    assert list(found["predicted"]) == [2, 16, 64, 256]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(table.read_text().splitlines()) == 6
    assert "nobody to share" in capsys.readouterr().out


def test_a_slow_machine_does_fewer_updates_of_both(capsys):
    small = ["--layers", "16", "--examples", "20", "--coarsening", "4", "--time-limit", "0.01"]
    found = first_run.main(small)
    updates = found["sequential"]["updates"]
    assert 1 <= updates < 200 and found["parallel"]["updates"] == updates
    assert "(not 200 updates: sequential training has 0.01 s)" in capsys.readouterr().out


@pytest.mark.parametrize(("limit", "examples"), [(1e9, 2000), (1e-6, 500)])
def test_examples_fit_the_machine(limit, examples):
    comm = SerialComm()
    options = first_run.parser(comm).parse_args(["--layers", "16", "--time-limit", str(limit)])
    setup = first_run.set_up(options, comm)
    assert len(setup.data.x) == options.examples == examples


def test_a_training_that_has_failed_ends_with_1_after_its_files(tmp_path, monkeypatch, capsys):
    run = Lagged.run
    monkeypatch.setattr(Lagged, "run", lambda *given: replace(run(*given), status=Status.DIVERGING))
    small = ["--layers", "16", "--examples", "20", "--coarsening", "4", "--updates", "2"]
    with pytest.raises(SystemExit) as ended:
        first_run.main([*small, "--history", str(tmp_path / "history.csv")])
    assert ended.value.code == 1
    assert "training on 1 rank(s) has failed: " in capsys.readouterr().err
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 4
