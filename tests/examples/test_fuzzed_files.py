"""Files that are damaged, made to hurt, or no files at all: one line, exit code 2, nothing changed.

``PINT_FUZZ=200`` changes each file so often, in processes of their own, and measures their memory.
"""

import json
import os
import socket
import sys
import zipfile
from pathlib import Path

import forgeries
import fuzzed_files
import numpy as np
import programs
import pytest
from fuzzed_files import FORMATS, ODE, TRAIN, run, snapshot

COUNT = int(os.environ.get("PINT_FUZZ", "0"))
MOST_BYTES, MOST_SECONDS = 1e9, 5.0
INF = float("inf")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with a sound file of each format."""
    folder, before = tmp_path_factory.mktemp("sound"), Path.cwd()
    os.chdir(folder)
    try:
        fuzzed_files.write_files()
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def folder(sound, monkeypatch):
    monkeypatch.chdir(sound)
    before = snapshot()
    yield sound
    for path in snapshot().keys() - before.keys():
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


def refused(program, options, *words):
    before = snapshot()
    code, message = run(program, options)
    assert code == 2, message
    assert message.startswith(f"{program}.py: error: argument ")
    assert message.count("\n") == 1
    for word in words:
        assert word in message
    assert snapshot() == before


@pytest.mark.parametrize("name", FORMATS)
def test_changed_bytes(folder, name):
    if not COUNT:
        fuzzed_files.fuzz(name, 8, seed=1)
        return
    code, output = programs.run(sys.executable, fuzzed_files.__file__, name, str(COUNT))
    assert code == 0, output
    result = json.loads(output.splitlines()[-1])
    sys.stdout.write(f"{name}: {result}\n")
    assert result["peak"] < MOST_BYTES
    assert result["slowest"] < MOST_SECONDS


@pytest.mark.parametrize("name", ["step nan", "effort 1152921504606846976", "run nested"])
def test_forged_checkpoints(folder, name):
    change, _ = (forgeries.ANY_RUN | forgeries.EFFORTS)[name]
    forgeries.altered("run.npz", change)
    refused("ode_control", FORMATS["checkpoint"][1], "argument --checkpoint: run.npz is damaged")


# What would fill the memory


def bomb(path, name="x"):
    """Write an archive of some kilobytes that unpacks to 128 MB."""
    count = 2**24
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({count}, 1)}}\n".encode()
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            member.write(header)
            for _ in range(128):
                member.write(bytes(2**20))


def test_an_archive_that_would_fill_the_memory(folder):
    bomb("bomb.npz")
    for program, options in (
        ("train_resnet", f"{TRAIN} --data bomb.npz"),
        ("train_resnet", f"{TRAIN} --data new.npz --initial-control bomb.npz"),
        ("classify", "net.npz --data bomb.npz"),
        ("ode_control", f"{ODE} one-shot --checkpoint bomb.npz --resume"),
    ):
        refused(program, options, "bomb.npz", "it would unpack from")
    Path("bomb.json").write_bytes(Path("net.json").read_bytes())
    refused("classify", "bomb.npz --data new.npz", "bomb.npz", "it would unpack from")


def test_a_sidecar_that_asks_for_the_memory(folder):
    sizes = (
        ("layers", 10**12),
        ("layers", 1e9),
        ("width", 10**5),
        ("width", 10**9),
        ("classes", 2),
    )
    for name, value in sizes:
        content = json.loads(Path("net.json").read_text()) | {name: value}
        Path("big.json").write_text(json.dumps(content))
        Path("big.npz").write_bytes(Path("net.npz").read_bytes())
        refused("classify", "big.npz --data new.npz", "argument FILE.npz: ", "big.")


def test_images_that_are_larger_than_their_file(folder):
    path = Path("plain/train-images-idx3-ubyte")
    content = bytearray(path.read_bytes())
    content[4:16] = b"\x7f\xff\xff\xff" * 3
    path.write_bytes(content)
    refused("train_resnet", FORMATS["images"][1], str(path), "more than a file of its size")


# What is no file


@pytest.mark.parametrize("kind", ["pipe", "endless", "folder", "socket", "loop"])
def test_only_regular_files_are_read(folder, kind, tmp_path):
    places = [Path(f"special{suffix}") for suffix in (".npz", ".csv", ".json")]
    for path in places:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        else:
            path.symlink_to("/dev/zero" if kind == "endless" else path)
    try:
        for program, options in (
            ("train_resnet", f"{TRAIN} --data special.npz"),
            ("train_resnet", f"{TRAIN} --data special.csv"),
            ("train_resnet", f"{TRAIN} --data new.npz --initial-control special.npz"),
            ("classify", "special.npz --data new.npz"),
            ("classify", "net.npz --data special.csv"),
            ("ode_control", f"{ODE} one-shot --checkpoint special.npz --resume"),
        ):
            refused(program, options, "special.")
    finally:
        for path in places:
            path.rmdir() if kind == "folder" else path.unlink()


# Another problem


def test_a_run_is_resumed_by_its_own_problem_alone(folder):
    Path("train.npz").unlink()
    saved = f"{TRAIN} --data new.npz --checkpoint train.npz"
    assert run("train_resnet", saved)[0] == 0
    x, y = (np.load("new.npz")[name] for name in ("x", "y"))
    np.savez("other.npz", x=x + 1e-3 * (np.arange(40) == 20)[:, None], y=y)
    np.savez("labels.npz", x=x, y=np.roll(y, 1))
    more = f"{saved} --resume --iterations 4"
    for options, word in (
        (f"{more} --activation relu", "`stepper.activation"),
        (f"{more} --normalise", "`stepper.opening.x`"),
        (f"{more} --gamma-smooth 0.01", "`regularisers[3].gamma`"),
        (f"{more} --final-time 2", "`times`"),
        (more.replace("new.npz", "other.npz"), "`stepper.opening.x`"),
        (more.replace("new.npz", "labels.npz"), "`objective.labels`"),
    ):
        refused("train_resnet", options, "argument --checkpoint: train.npz belongs to", word)
    assert run("train_resnet", more)[0] == 0


@pytest.mark.parametrize("method", ["sequential", "one-shot"])
def test_another_parameter_of_an_equation_is_named(folder, method):
    options = f"--problem pendulum --steps 16 --method {method} --checkpoint pendulum.npz"
    assert run("ode_control", f"{options} --iterations 2")[0] == 0
    more = f"{options} --resume --iterations 4"
    refused("ode_control", f"{more} --set damping=0.2", "belongs to another problem", "damping")
    assert run("ode_control", more)[0] == 0
    Path("pendulum.npz").unlink()


def test_two_runs_in_one_folder_do_not_know_of_each_other(folder, monkeypatch):
    """Their names begin with the same fifty characters; the second starts as the first writes."""
    name = "a-name-of-fifty-characters-that-is-followed-by-more-"
    options = f"{ODE} one-shot --iterations 2 --checkpoint {name}"
    replace, started = os.replace, []

    def starting_the_second(old, new):
        if not started:
            started.append(None)
            started[0] = run("ode_control", f"{options}second.npz")[0]
        replace(old, new)

    monkeypatch.setattr("os.replace", starting_the_second)
    assert run("ode_control", f"{options}first.npz")[0] == 0
    assert started == [0]
    assert sorted(path.name for path in Path().glob(f"*{name}*")) == [
        f"{name}first.npz",
        f"{name}second.npz",
    ]
