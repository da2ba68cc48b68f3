"""The example program: its numbers, its files, and one clear line for every wrong argument."""

import csv
import errno
import json
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import peaks_halton
import pytest
import train_resnet
import training_history

import pint

ROOT = Path(__file__).parents[2]
REFERENCE = json.loads((ROOT / "tests/data/layer_parallel_case_a.json").read_text())
COLUMNS = (
    "iteration,objective,loss,gradient_norm,state_residual,adjoint_residual,step,"
    "line_search_trials,train_accuracy,validation_accuracy,state_steps,adjoint_steps,seconds,"
    "gradient_error"
)
IMAGES = "--data digits --network convolutional"
SMALL = ["--layers", "8", "--examples", "10", "--iterations", "3"]


def history(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert ",".join(rows[0]) == COLUMNS
    return np.array([[float(entry) for entry in row] for row in rows[1:]])


def column(rows, name):
    return rows[:, COLUMNS.split(",").index(name)]


# Reference case A, through the command line


@pytest.fixture
def case_a(tmp_path):
    """Return the options of the reference run; data and first control are in files."""
    x_train, y_train = peaks_halton.data(500)
    x_valid, y_valid = peaks_halton.data(200, skip=520)
    data, control = tmp_path / "data.npz", tmp_path / "control.npz"
    np.savez(data, x_train=x_train, y_train=y_train, x_valid=x_valid, y_valid=y_valid)
    values = np.array(REFERENCE["initial_design"])
    opening, layers, closing = np.split(values, [17, 17 + 32 * 65])
    layers = layers.reshape(32, 65)
    np.savez(
        control,
        opening_weight=opening[:16].reshape(8, 2),
        opening_bias=opening[16:],
        weight=layers[:, :64].reshape(32, 8, 8),
        bias=layers[:, 64:],
        classification_weight=closing[:40].reshape(5, 8),
        classification_bias=closing[40:],
    )
    dt = 5 / 32
    return [
        *("--data", str(data), "--initial-control", str(control), "--bias", "scalar"),
        *("--layers", "32", "--final-time", "5", "--metric", "euclidean"),
        *("--gamma-tikhonov", repr(1e-5 / dt), "--gamma-smooth", repr(1e-5 / dt)),
        *("--gamma-opening", "1e-5", "--gamma-classification", "1e-5"),
        *("--gradient-tolerance", "0", "--history", str(tmp_path / "history.csv"), "--quiet"),
    ]


def test_sequential_history_of_reference_case_a(case_a, tmp_path):
    options = ("--method", "sequential", "--iterations", "15", "--line-search", "armijo")
    train_resnet.main([*case_a, *options])
    rows = history(tmp_path / "history.csv")
    for name, reference in (
        ("objective", "objective"),
        ("loss", "loss"),
        ("gradient_norm", "gradient_norm"),
        ("step", "step"),
        ("line_search_trials", "line_search"),
        ("train_accuracy", "train_accuracy"),
        ("validation_accuracy", "validation_accuracy"),
    ):
        expected = [row[reference] for row in REFERENCE["sequential"]]
        np.testing.assert_allclose(column(rows, name), expected, rtol=1e-10, err_msg=name)
    assert (column(rows, "state_residual") == 0).all()


@pytest.mark.parametrize("method", ["mgrit", "one-shot"])
def test_first_row_of_the_mgrit_run_of_reference_case_a(method, case_a, tmp_path):
    solver = ["--levels", "2", "--coarsening", "4", "--relaxation", "FCF", "--cycles", "2"]
    train_resnet.main(
        [*case_a, *solver, "--method", method, "--initial-guess", "zero", "--iterations", "0"]
    )
    row = history(tmp_path / "history.csv")
    expected = REFERENCE["mgrit"]["rows"][0]
    for name in ("state_residual", "adjoint_residual", "objective", "loss", "train_accuracy"):
        np.testing.assert_allclose(column(row, name), expected[name], rtol=1e-8, err_msg=name)


# Behaviour


def test_mgrit_to_tolerance_gives_the_sequential_history(tmp_path):
    histories = []
    for method in ("sequential", "mgrit"):
        path = tmp_path / f"{method}.csv"
        train_resnet.main([*SMALL, "--method", method, "--history", str(path), "--quiet"])
        histories.append(history(path))
    for name in ("objective", "gradient_norm", "train_accuracy", "validation_accuracy"):
        np.testing.assert_allclose(*(column(rows, name) for rows in histories), rtol=1e-9)


def test_saved_control_is_read_again_and_gives_the_reported_objective(tmp_path):
    saved = str(tmp_path / "control.npz")
    first = train_resnet.main([*SMALL, "--save", saved, "--quiet"])
    again = train_resnet.main(
        [*SMALL, "--initial-control", saved, "--iterations", "0", "--method", "sequential"]
    )
    assert again["objective"] == first["objective"]
    with np.load(saved) as arrays:
        assert {name: arrays[name].shape for name in arrays.files} == {
            "opening_weight": (8, 2),
            "opening_bias": (8,),
            "weight": (8, 8, 8),
            "bias": (8, 8),
            "classification_weight": (5, 8),
            "classification_bias": (5,),
        }


def test_convolutional_networks_take_one_lagged_cycle_and_match_sequential_training(tmp_path):
    options = f"{IMAGES} --layers 8 --examples 300 --iterations 40 --quiet".split()

    def rows(*more):
        train_resnet.main([*options, *more, "--history", str(tmp_path / "history.csv")])
        return history(tmp_path / "history.csv")

    default, exact = rows("--method", "one-shot"), rows("--method", "sequential")
    lagged = rows("--cycles", "1", "--relaxation", "F", "--iterations", "3")
    np.testing.assert_array_equal(column(default[:3], "objective"), column(lagged[:3], "objective"))
    objective, exact_objective = (column(r, "objective")[-1] for r in (default, exact))
    assert abs(objective - exact_objective) < 0.1 * exact_objective
    accuracy, exact_accuracy = (column(r, "validation_accuracy")[-1] for r in (default, exact))
    assert accuracy > 85 and abs(accuracy - exact_accuracy) < 2


@pytest.mark.parametrize("options", [["--opening", "pad"], ["--data", "three.npz"]])
def test_files_that_are_written(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    x, y = random.standard_normal((40, 3)), np.eye(2)[random.integers(2, size=40)]
    np.savez("three.npz", x_train=x, y_train=y, x_valid=x, y_valid=y)
    outputs = ["--plot", "plot.png", "--history", "history.csv", "--save", "control.npz"]
    train_resnet.main([*SMALL, *options, *outputs])
    assert Path("plot.png").read_bytes().startswith(b"\x89PNG")
    assert len(history("history.csv")) == 4
    assert not [name for name in os.listdir() if name.startswith(".")]  # no temporary files
    assert "state solved exactly" in capsys.readouterr().out


def test_images_in_an_archive_and_their_confusion_matrix(tmp_path):
    """Bars that stand or lie, as bytes; a network of convolutions finds which."""
    random = np.random.default_rng(0)
    x, y = np.zeros((60, 6, 5), np.uint8), np.arange(60) % 2
    for image, lies, place in zip(x, y, random.integers(0, 5, 60), strict=True):
        (image if lies else image.T)[place] = 255
    np.savez(tmp_path / "bars.npz", x=x, y=np.array(["stands", "lies"])[y])
    summary = train_resnet.main(
        f"--data {tmp_path}/bars.npz --network convolutional --channels 2 --layers 8 --quiet "
        f"--iterations 20 --test-examples 20 --plot {tmp_path}/bars.png".split()
    )
    assert summary["train_accuracy"] == 100
    assert summary["validation_accuracy"] >= 90
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_one_shot_keeps_up_with_the_sequential_method():
    """After 50 updates, N = 64, its objective is at most 1.1 times that of sequential sweeps."""
    options = "--layers 64 --examples 100 --iterations 50 --gradient-tolerance 0 --quiet".split()
    sequential = train_resnet.main([*options, "--method", "sequential"])
    for cycles in ("2", "adaptive"):
        one_shot = train_resnet.main([*options, "--method", "one-shot", "--cycles", cycles])
        assert one_shot["objective"] <= 1.1 * sequential["objective"]


# Bad input: one line that names the argument, exit code 2


def wrong_data(**changes):
    x, y = np.arange(20.0).reshape(10, 2), np.eye(3)[np.arange(10) % 3]
    return {"x_train": x, "y_train": y, "x_valid": x, "y_valid": y} | changes


Y = wrong_data()["y_train"]
BAD_ARGUMENTS = [
    ("--layers 0", "--layers"),
    ("--layers x", "--layers"),
    ("--layers 2 --coarsening 4", "--coarsening"),
    ("--layers 8 --levels 4", "--levels"),
    ("--levels 3 --coarsening 2,2,2", "--coarsening"),
    ("--levels 1", "--levels"),
    ("--relaxation FC", "--relaxation"),
    ("--relaxation F,FCF", "--relaxation"),
    ("--coarsening 1", "--coarsening"),
    ("--cycles 0", "--cycles"),
    ("--tolerance nan", "--tolerance"),
    ("--final-time inf", "--final-time"),
    ("--gamma-smooth -1", "--gamma-smooth"),
    ("--activation elu", "--activation"),
    ("--method newton", "--method"),
    ("--opening pad --width 1", "--width"),
    ("--no-such-option", "--no-such-option"),
    ("--data missing.npz", "--data"),
    ("--data text.npz", "--data"),
    ("--data truncated.npz", "--data"),
    ("--data array.npy", "--data"),
    ("--data nan.npz", "x_train"),
    ("--data labels.npz", "y_train"),
    ("--data labels_valid.npz", "y_valid"),
    ("--data lengths.npz", "y_train"),
    ("--data features.npz", "x_valid"),
    ("--data vector.npz", "y_train"),
    ("--data words.npz", "x_train"),
    ("--data absent.npz", "y_valid"),
    ("--data good.npz --examples 11", "--examples"),
    ("--initial-control good.npz", "--initial-control"),
    ("--initial-control missing.npz", "--initial-control"),
    ("--initial-control shapes.npz", "weight"),
    ("--history no/such/folder/history.csv", "--history"),
    ("--save .", "--save"),
    ("--plot plot.xyz", "--plot"),
    ("--data complex.npz", "x_train"),
    ("--data no_features.npz", "x_train"),
    ("--data no_array.npz", "x_train"),
    ("--data huge_array.npz", "--data"),
    ("--initial-control=", "--initial-control"),
    ("--initial-control broadcast.npz", "weight"),
    ("--initial-control complex_weight.npz", "weight"),
    ("--levels 1000000000", "--levels"),
    ("--layers 100000000000000000", "--layers"),
    ("--examples 100000000000000000", "--examples"),
    ("--history " + 300 * "h", "--history"),
    ("--save good.npz/control.npz", "--save"),
    ("--opening replicate", "--opening"),
    ("--network convolutional", "--network"),
    (f"{IMAGES} --opening pad", "--opening"),
    (f"{IMAGES} --kernel 2", "--kernel"),
    (f"{IMAGES} --pool 3", "--pool"),
    ("--batch 10", "--batch"),
    ("--optimiser adam --batch 1000", "--batch"),
    ("--optimiser sgd --method mgrit", "--optimiser"),
    ("--optimiser adam --decay 0.1 --schedule cosine", "--schedule"),
    ("--optimiser adam --schedule often", "--schedule"),
    ("--optimiser adam --weight-decay nan", "--weight-decay"),
    ("--optimiser adam --clip 0", "--clip"),
    ("--optimiser adam --patience 0", "--patience"),
    ("--schedule cosine", "--schedule"),
    ("--weight-decay 0.1", "--weight-decay"),
    ("--clip 1", "--clip"),
    ("--patience 3", "--patience"),
    ("--optimiser adam --learning-rate 0", "--learning-rate"),
    ("--optimiser newton", "--optimiser"),
    ("--optimiser sgd --momentum 1", "--momentum"),
    ("--optimiser adam --momentum 0.5", "--momentum"),
    ("--epochs 3", "--epochs"),
    ("--epochs 10", "--epochs"),
    ("--pool 2", "--pool"),
    (f"{IMAGES} --width 4", "--width"),
    ("--save weights.json", "--save"),
    ("--save weights.npz --history weights.json", "--save"),
    ("--history h.csv --plot ../bad/h.csv", "--plot"),
    ("--start-layers 3", "--start-layers"),
    ("--start-layers 16", "--start-layers"),
    ("--start-layers 2 --method one-shot", "--start-layers"),
    ("--start-layers 4 --checkpoint run.npz", "--checkpoint"),
    ("--data-ranks 2", "--data-ranks"),
    ("--data mnist", "--data"),
    ("--data mnist --data-folder .", "train-images-idx3-ubyte"),
    ("--data cifar", "--data"),
    ("--data digits --data-folder .", "--data-folder"),
    ("--data digits --test-examples 1797", "--test-examples"),
    ("--data good.npz --label kind", "--label"),
]


def write_archives(path, ending, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name in wrong_data():
            archive.writestr(name + ending, content)


@pytest.fixture
def bad_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = wrong_data()
    np.savez("good.npz", **good)
    np.savez("nan.npz", **wrong_data(x_train=np.full((10, 2), np.nan)))
    np.savez("labels.npz", **wrong_data(y_train=2 * Y))
    np.savez("labels_valid.npz", **wrong_data(y_valid=np.ones_like(Y)))
    np.savez("lengths.npz", **wrong_data(y_train=Y[:5]))
    np.savez("features.npz", **wrong_data(x_valid=np.ones((10, 3))))
    np.savez("vector.npz", **wrong_data(y_train=np.arange(10)))
    np.savez("words.npz", **wrong_data(x_train=np.full((10, 2), "word")))
    np.savez("absent.npz", **{name: good[name] for name in ("x_train", "y_train", "x_valid")})
    np.savez("complex.npz", **wrong_data(x_train=np.full((10, 2), 1j)))
    np.savez("no_features.npz", **wrong_data(x_train=np.ones((10, 0)), x_valid=np.ones((10, 0))))
    np.save("array.npy", good["x_train"])
    write_archives("no_array.npz", "", b"text")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000000)}"
    header = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    write_archives("huge_array.npz", ".npy", header)
    Path("text.npz").write_text("no archive")
    Path("truncated.npz").write_bytes(Path("good.npz").read_bytes()[:200])
    control = train_resnet.set_up(train_resnet.parser(pint.SerialComm()).parse_args(SMALL),
                                  pint.SerialComm()).control  # fmt: skip
    np.savez("shapes.npz", **(control.gather() | {"weight": np.zeros((7, 8, 8))}))
    np.savez("broadcast.npz", **(control.gather() | {"weight": np.zeros((8, 8))}))
    np.savez("complex_weight.npz", **(control.gather() | {"weight": np.full((8, 8, 8), 1j)}))


@pytest.mark.parametrize(("arguments", "name"), BAD_ARGUMENTS)
def test_bad_argument(arguments, name, bad_files, capsys):
    with pytest.raises(SystemExit) as ended:
        small = SMALL if "--optimiser" not in arguments else SMALL[:-2]
        train_resnet.main([*small, *arguments.split()])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("train_resnet.py: error: ")
    assert message.count("\n") == 1
    assert name in message


def test_state_that_becomes_infinite_is_one_line_too(tmp_path, capsys):
    control = train_resnet.set_up(train_resnet.parser(pint.SerialComm()).parse_args(SMALL),
                                  pint.SerialComm()).control  # fmt: skip
    huge = control.space.control(**(control.gather() | {"weight": np.full((8, 8, 8), 1e200)}))
    huge.save(tmp_path / "huge.npz")
    options = ["--activation", "relu", "--initial-control", str(tmp_path / "huge.npz"), "--quiet"]
    with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
        warnings.simplefilter("error")
        train_resnet.main([*SMALL, *options])
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert "not finite" in message
    assert message.count("\n") == 1


def test_a_full_disk_while_training_is_one_line_too(tmp_path, monkeypatch, capsys):
    def full(path, write):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(training_history, "write_atomically", full)
    with pytest.raises(SystemExit) as ended:
        train_resnet.main([*SMALL, "--history", str(tmp_path / "history.csv"), "--quiet"])
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert "history.csv" in message
    assert message.count("\n") == 1


BATCHES = [
    *("--layers", "8", "--examples", "60", "--batch", "20", "--quiet", "--optimiser", "adam"),
    *("--method", "one-shot", "--learning-rate", "0.05", "--weight-decay", "0.1", "--clip", "0.5"),
]


@pytest.mark.parametrize("schedule", ["step", "cosine", "warm-up"])
def test_schedules_of_stochastic_runs(tmp_path, schedule):
    file = tmp_path / "h.csv"
    options = [*BATCHES, "--schedule", schedule, "--epochs", "3", "--history", str(file)]
    train_resnet.main(options)
    rows = history(file)
    rates = column(rows, "step")[1::3] / 0.05
    expected = {"step": [1, 0.1], "cosine": [1, 0.75], "warm-up": [1 / 3, 1]}[schedule]
    np.testing.assert_allclose(rates[:2], expected, rtol=1e-12)
    errors = column(rows, "gradient_error")
    assert 0 < errors[0] < 0.1 * column(rows, "gradient_norm")[0]


def test_a_stochastic_run_is_resumed_and_ends_early(tmp_path, capsys):
    def trained(name, *options):
        files = ("--checkpoint", str(tmp_path / f"{name}.npz"), "--history", str(tmp_path / name))
        return train_resnet.main([*BATCHES, *files, "--patience", "2", *options])

    whole = trained("whole", "--epochs", "30")
    trained("part", "--epochs", "2")
    resumed = trained("part", "--epochs", "30", "--resume")
    for name in ("objective", "validation_accuracy", "iterations", "status"):
        assert resumed[name] == whole[name]
    assert whole["status"] == "early stopped"
    both = [history(tmp_path / name) for name in ("whole", "part")]
    np.testing.assert_array_equal(*(column(rows, "objective") for rows in both))
    # The best epoch is that after which the accuracy was largest; the next row has it.
    accuracies = column(both[0], "validation_accuracy")[3::3]
    assert whole["validation_accuracy"] == accuracies.max()
    assert "has not improved" in capsys.readouterr().out
