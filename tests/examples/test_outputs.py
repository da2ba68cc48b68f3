"""No program replaces a file that it reads, a checkpoint, or another result."""

import importlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

# The files that are read are no archives and no tables: a program that had begun to read them would
# complain of them, and not of the result.
OVERWRITING = [
    ("train_resnet", "--data data.npz --save data.npz"),
    ("train_resnet", "--data data.npz --history ./folder/../data.npz"),
    ("train_resnet", "--data data.npz --plot link.png"),
    ("train_resnet", "--data hard.npz --history data.npz"),
    ("train_resnet", "--checkpoint q.npz --save q.npz"),
    ("train_resnet", "--checkpoint run.npz --resume --history run.npz"),
    ("train_resnet", "--checkpoint w.json --save w.npz"),
    ("train_resnet", "--initial-control w.npz --history w.json"),
    ("train_resnet", "--save run.npz"),
    ("train_resnet", "--save other.npz"),
    ("train_resnet", "--history run.npz"),
    ("train_resnet", "--data mnist --data-folder folder --history folder/t10k-images-idx3-ubyte"),
    ("train_resnet", "--save described.npz"),
    ("train_module", "--data data.csv --history data.csv"),
    ("train_module", "--module mine.py:net --save mine.py"),
    ("train_module", "--save run.npz"),
    ("train_module", "--json new.json --history folder/../new.json"),
    ("classify", "w.npz --data new.csv --output new.csv"),
    ("classify", "w.npz --data new.csv --output w.npz"),
    ("classify", "w.npz --data new.csv --output w.json"),
    ("heat_control", "--json h --history h"),
    ("heat_control", "--checkpoint run.npz --resume --json run.npz"),
    ("ode_control", "--checkpoint run.npz --resume --plot run.png"),
    ("ode_control", "--checkpoint new --history new"),
    ("diagnose", "--json folder/d.png --plot folder/d.png"),
    ("diagnose", "--json run.npz"),
    ("one_shot_study", "--csv run.npz"),
    ("one_shot_study", "--csv s.svg --plot s.svg"),
    ("receding_horizon", "--plot run.png"),
    # what another run has written or will read, through folders that are links, too
    ("train_resnet", "--history data.csv"),
    ("train_resnet", "--save alias/new.npz --history new.json"),
    ("train_resnet", "--save new.npz --checkpoint nowhere.npz"),
    ("train_resnet", "--plot thesis.pdf"),
    ("train_resnet", "--save thesis.npz"),
    ("train_module", "--json described.json --history folder/h.csv --save alias/data.npz"),
    ("train_module", "--module {cwd}/mine.py:net --json alias/mine.py"),
    ("classify", "w.npz --data new.csv --output folder/h.csv"),
    ("first_run", "--history data.csv"),
    ("diagnose", "--json described.json"),
    # the files of a folder
    ("heat_control", "--vtk folder --json folder/state.pvd"),
    ("heat_control", "--vtk alias/folder --checkpoint folder/state_00001.vtu"),
    ("pde_control", "--vtk folder/series"),
    ("pde_control", "--vtk j/k --json j"),
]

UNWRITABLE = [
    ("heat_control", "--vtk /proc/new"),
    ("heat_control", "--vtk mine.py"),
    ("heat_control", "--vtk mine.py/new"),
    ("heat_control", "--vtk dangling"),
    ("pde_control", f"--vtk new/{'x' * 300}"),
    ("pde_control", f"--json {'x' * 300}"),
    ("train_resnet", "--save /proc/new.npz"),
    ("train_module", "--history mine.py/h.csv"),
    ("classify", "w.npz --data new.csv --output missing/new.csv"),
    ("ode_control", "--checkpoint folder"),
    ("diagnose", "--plot missing/d.png"),
    ("one_shot_study", "--csv /proc/s.csv"),
    ("receding_horizon", "--plot folder/series/r.png/p.png"),
    ("first_run", "--history folder"),
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Return the content of all files by name."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for name in ("data.npz", "data.csv", "new.csv", "w.npz", "w.json", "mine.py",
                 "thesis.pdf", "thesis.npz"):  # fmt: skip
        Path(name).write_text(f"what was in {name}")
    Path("folder/h.csv").write_text("iteration,objective\n0,1.0\n")
    Path("folder/series").mkdir()
    os.symlink(".", "alias")
    os.symlink("nowhere.npz", "new.npz")
    os.symlink("nowhere", "dangling")
    Path("folder/t10k-images-idx3-ubyte").write_text("images")
    Path("described.json").write_text('{"objective": 1.0}')
    np.savez("other.npz", x=np.ones(3))
    os.link("data.npz", "hard.npz")
    os.symlink("data.npz", "link.png")
    ode = importlib.import_module("ode_control")
    ode.main(["--steps", "8", "--iterations", "1", "--checkpoint", "run.npz"])
    os.symlink("run.npz", "run.png")
    os.link("run.npz", "folder/series/state_00001.vtu")
    return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_what_would_be_lost_is_refused_before_any_work(files, capsys):
    capsys.readouterr()
    for program, arguments in OVERWRITING:
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(program).main(arguments.format(cwd=os.getcwd()).split())
        message = capsys.readouterr().err
        assert ended.value.code == 2, arguments
        assert message.count("\n") == 1, arguments
        named = [word for word in message.split() if word.startswith("--") and word[-1] == ":"]
        assert named and named[0][:-1] in arguments, message
        assert "replace" in message or "written by" in message, message
    assert {path: path.read_bytes() for path in files} == files
    assert not [
        path for path in Path().rglob("*") if path.is_file() and path.resolve() not in files
    ]


def test_results_that_cannot_be_written_are_refused_before_any_work(files, capsys):
    capsys.readouterr()
    for program, arguments in UNWRITABLE:
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(program).main(arguments.split())
        message = capsys.readouterr().err
        assert ended.value.code == 2, arguments
        option = next(
            word for word in arguments.split() if word.startswith("--") and word != "--data"
        )
        assert message.startswith(f"{program}.py: error: argument {option}: "), message
        assert message.count("\n") == 1, arguments
    assert {path: path.read_bytes() for path in files} == files


def test_a_full_disk_costs_no_other_result(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = "--layers 4 --examples 10 --iterations 1 --quiet"
    for program, arguments, left in (
        ("heat_control", "--points 3 --steps 4 --json /dev/full --npz s.npz --vtk v",
         ["s.npz", "v"]),
        ("ode_control", "--steps 8 --history /dev/full --json o.json --npz o.npz",
         ["o.json", "o.npz"]),
        ("train_resnet", f"{small} --history /dev/full --save w.npz", ["w.json", "w.npz"]),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(program).main(arguments.split())
        assert ended.value.code == 1
        assert "No space left" in capsys.readouterr().err
        assert sorted(os.listdir()) == left
        for name in left:
            if os.path.isdir(name):
                assert "state.pvd" in os.listdir(name)
                shutil.rmtree(name)
            else:
                os.remove(name)


def test_results_replace_those_of_the_last_run_and_devices_take_several(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = importlib.import_module("train_resnet").main
    small = "--layers 4 --examples 10 --iterations 1 --quiet --save w.npz".split()
    for more in (["--history", "h.csv"], ["--history", "h.csv"], ["--history", "/dev/null"]):
        train([*small, *more])
    importlib.import_module("ode_control").main(
        "--steps 8 --iterations 1 --json /dev/null --history /dev/null".split()
    )
    assert sorted(os.listdir()) == ["h.csv", "w.json", "w.npz"]
