"""Random changes of the bytes of all files that programs read, and what the programs do then.

``python tests/fuzzed_files.py FORMAT COUNT`` changes one file COUNT times, runs a program each
time, and prints how it ended, the longest time and the largest memory, as JSON.
"""

import gzip
import io
import json
import os
import resource
import struct
import sys
import time
import warnings
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

TRAIN = "--layers 4 --final-time 1 --iterations 2 --width 3 --quiet --method sequential"
ODE = "--problem fishing --steps 16 --levels 2 --iterations 4 --method"
FORMATS = {
    "checkpoint": ("ode_control", f"{ODE} one-shot --checkpoint run.npz --resume", "run.npz"),
    "adaptive": (
        "ode_control",
        f"{ODE} one-shot --cycles adaptive --checkpoint adaptive.npz --resume",
        "adaptive.npz",
    ),
    "control": ("train_resnet", f"{TRAIN} --data new.npz --initial-control net.npz", "net.npz"),
    "weights": ("classify", "net.npz --data new.npz", "net.npz"),
    "sidecar": ("classify", "net.npz --data new.npz", "net.json"),
    "archive": ("train_resnet", f"{TRAIN} --data new.npz", "new.npz"),
    "compressed": ("train_resnet", f"{TRAIN} --data compressed.npz", "compressed.npz"),
    "new": ("classify", "net.npz --data new.npz", "new.npz"),
    "table": ("train_resnet", f"{TRAIN} --data new.csv", "new.csv"),
    "new-table": ("classify", "net.npz --data new.csv --output found.csv", "new.csv"),
    "images": (
        "train_resnet",
        f"{TRAIN} --data mnist --data-folder plain",
        "plain/train-images-idx3-ubyte",
    ),
    "labels": (
        "train_resnet",
        f"{TRAIN} --data mnist --data-folder gzip",
        "gzip/train-labels-idx1-ubyte.gz",
    ),
    "gzip": (
        "train_resnet",
        f"{TRAIN} --data mnist --data-folder gzip",
        "gzip/train-images-idx3-ubyte.gz",
    ),
    "matlab": (
        "train_resnet",
        f"{TRAIN} --data indian-pines --data-folder pines",
        "pines/Indian_pines.mat",
    ),
    "history": (
        "train_resnet",
        f"{TRAIN} --data new.npz --checkpoint train.npz --resume --history history.csv",
        "history.csv",
    ),
}
"""By name: a program, its options, and the file that is changed."""


def write_files():
    """Write one sound file of each format in the current folder."""
    from scipy.io import savemat

    random = np.random.default_rng(0)
    x, y = random.standard_normal((40, 2)), np.arange(40) % 3
    np.savez("new.npz", x=x, y=y)
    np.savez_compressed("compressed.npz", x=x, y=y)
    rows = "".join(f"{a!r},{b!r},class {c}\n" for (a, b), c in zip(x.tolist(), y, strict=True))
    Path("new.csv").write_text("a,b,kind\n" + rows)
    for folder, suffix in (("plain", ""), ("gzip", ".gz")):
        Path(folder).mkdir()
        for part, count in (("train", 30), ("t10k", 20)):
            images = random.integers(0, 256, (count, 4, 3)).astype(np.uint8)
            labels = (np.arange(count) % 10).astype(np.uint8)
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
                content = header + array.tobytes()
                path = Path(folder) / f"{part}-{kind}-ubyte{suffix}"
                path.write_bytes(gzip.compress(content) if suffix else content)
    Path("pines").mkdir()
    cube, classes = random.integers(0, 9000, (5, 6, 4)), np.arange(30).reshape(5, 6) % 4
    savemat("pines/Indian_pines.mat", {"indian_pines": cube.astype("u2")}, do_compression=True)
    savemat("pines/Indian_pines_gt.mat", {"indian_pines_gt": classes.astype("u1")})
    for options in (
        "one-shot --checkpoint run.npz",
        "one-shot --cycles adaptive --checkpoint adaptive.npz",
    ):
        assert run("ode_control", f"{ODE} {options} --iterations 3")[0] == 0
    assert run("train_resnet", f"{TRAIN} --data new.npz --save net.npz")[0] == 0
    saved = "--checkpoint train.npz --history history.csv"
    assert run("train_resnet", f"{TRAIN} --data new.npz {saved}")[0] == 0
    # The table has the names of classes that the network does not know.
    Path("new.csv").write_text(Path("new.csv").read_text().replace("class ", ""))


def run(program, options):
    """Run a program in this process; return its exit code and what it wrote to stderr."""
    main = __import__(program).main
    errors = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(errors), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            main(options.split())
        except SystemExit as ended:
            return ended.code, errors.getvalue()
    return 0, errors.getvalue()


def changed(content, random):
    """Return bytes with a few of them changed, some missing, or some more."""
    content = bytearray(content)
    kind, place = random.integers(8), int(random.integers(len(content)))
    if kind < 5:
        for at in random.integers(len(content), size=random.choice([1, 1, 2, 8])):
            content[at] ^= 1 << int(random.integers(8))
    elif kind == 5:
        content[place : place + int(random.integers(1, 40))] = random.bytes(random.integers(0, 40))
    elif kind == 6:
        del content[place:]
    else:
        content[place : place + 8] = random.choice([b"\xff" * 8, bytes(8), b"9" * 8])
    return bytes(content)


def snapshot():
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def fuzz(name, count, seed=0):
    """Change the file of a format `count` times; return how the program ended how often.

    AssertionError says what is wrong. The sound files are put back.
    """
    program, options, file = FORMATS[name]
    random, ends, slowest = np.random.default_rng(seed), Counter(), 0.0
    sound = snapshot()
    assert run(program, options)[0] == 0, name
    for path in set(snapshot()) - set(sound):
        path.unlink()
    for number in range(count):
        for path, content in sound.items():
            if path.read_bytes() != content:
                path.write_bytes(content)
        Path(file).write_bytes(changed(sound[Path(file)], random))
        before, began = snapshot(), time.perf_counter()
        code, message = run(program, options)
        slowest = max(slowest, time.perf_counter() - began)
        ends[code] += 1
        about = f"{name} {number}: exit code {code}: {message}"
        # A number may have become one that is as good, or one that is too large to go on.
        assert code in (0, 1, 2), about
        if code:
            assert message.count("\n") == 1 and message.startswith(f"{program}.py: "), about
            assert snapshot() == before, about
    for path, content in sound.items():
        path.write_bytes(content)
    return {"ends": dict(ends), "slowest": slowest}


if __name__ == "__main__":
    import tempfile

    os.chdir(tempfile.mkdtemp())
    write_files()
    result = fuzz(sys.argv[1], int(sys.argv[2]))
    result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps(result) + "\n")
