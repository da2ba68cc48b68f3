"""Model-predictive control holds a plant that is not the model; the first control does not."""

import receding_horizon


def test_only_feedback_brings_the_pole_up(capsys):
    found = receding_horizon.main(["--steps", "88"])
    assert found["open loop"] > 1
    assert found["feedback"] < 0.1
    assert found["receding"] < 0.2
    assert max(found["iterations"][1:]) <= 25
    assert "each from the last one" in capsys.readouterr().out
