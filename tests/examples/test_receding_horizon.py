"""Model-predictive control holds a plant that is not the model; the first control does not."""

from dataclasses import replace

import pytest
import receding_horizon

import pint


def test_only_feedback_brings_the_pole_up(capsys):
    found = receding_horizon.main(["--steps", "88"])
    assert found["open loop"] > 1
    assert found["feedback"] < 0.1
    assert found["receding"] < 0.2
    assert max(found["iterations"][1:]) <= 25
    assert "each from the last one" in capsys.readouterr().out


def test_an_optimisation_that_fails_ends_the_program_with_1(tmp_path, monkeypatch, capsys):
    minimize, calls = pint.minimize, []

    def failing(*arguments, **options):
        calls.append(True)
        result = minimize(*arguments, **options)
        failed = pint.Status.LINE_SEARCH_FAILED if len(calls) == 2 else result.status
        return replace(result, status=failed)

    monkeypatch.setattr(pint, "minimize", failing)
    with pytest.raises(SystemExit) as ended:
        receding_horizon.main(["--steps", "4", "--plot", f"{tmp_path}/run.png"])
    printed = capsys.readouterr()
    assert ended.value.code == 1
    assert printed.err.startswith("receding_horizon.py: optimisation 2 of 2 has failed: ")
    assert printed.err.count("\n") == 1
    assert (tmp_path / "run.png").exists() and "receding at the end" in printed.out
