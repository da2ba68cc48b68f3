"""Saved weights start a network like theirs, or a deeper one."""

import pytest
import train_resnet

SMALL = "--final-time 2 --width 4 --examples 40 --quiet --method sequential".split()


def test_weights_of_another_network_are_refused_and_deeper_ones_prolonged(tmp_path, capsys):
    path = str(tmp_path / "w.npz")
    first = train_resnet.main([*SMALL, "--layers", "4", "--iterations", "5", "--save", path])
    start = [*SMALL, "--initial-control", path, "--iterations", "0"]
    assert train_resnet.main([*start, "--layers", "4"])["loss"] == first["loss"]
    deep = train_resnet.main([*start, "--layers", "16"])
    assert deep["loss"] == pytest.approx(first["loss"], rel=0.1)  # the same function of time
    for option, name in (("--activation relu", "activation"), ("--final-time 3", "final_time")):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            train_resnet.main([*start, "--layers", "4", *option.split()])
        message = capsys.readouterr().err
        assert ended.value.code == 2 and message.count("\n") == 1
        assert f"argument --initial-control: the weights in {path!r}" in message
        assert f"with {name} " in message
