"""Networks in files: what was trained classifies, and a file that does not fit is refused."""

import csv
import json

import classify
import numpy as np
import pytest
import train_resnet

SMALL = "--layers 4 --final-time 1 --examples 120 --test-examples 60 --iterations 3 --quiet"
NETWORKS = {
    "dense": "--data digits --opening pad --bias scalar",
    "plane": "--data peaks --width 4 --activation relu",
    "convolutional": "--data digits --network convolutional --channels 2 --pool 2",
    "replicated": "--data digits --network convolutional --opening replicate --kernel 5",
}


def train(path, options):
    return train_resnet.main([*options.split(), *SMALL.split(), "--save", str(path)])


def run(path, options):
    chosen = "--examples 120 --test-examples 60"
    return classify.main([str(path), *options.split(), *chosen.split()])


@pytest.mark.parametrize("name", NETWORKS)
def test_accuracy_is_that_of_the_training_program(name, tmp_path):
    trained = train(tmp_path / "net.npz", NETWORKS[name])
    data = " ".join(NETWORKS[name].split()[:2])
    for part, count in (("test", 60), ("training", 120)):
        found = run(tmp_path / "net.npz", f"{data} --part {part} --output {tmp_path}/{part}.csv")
        expected = trained["validation_accuracy" if part == "test" else "train_accuracy"]
        assert found == {"examples": count, "accuracy": pytest.approx(expected)}
        with open(tmp_path / f"{part}.csv", newline="") as file:
            head, *rows = csv.reader(file)
        assert head == ["example", "found", "given"]
        assert len(rows) == count
        right = np.mean([found == given for _, found, given in rows])
        assert 100 * right == pytest.approx(expected)
    assert run(tmp_path / "net.npz", f"{data} --part all")["examples"] == 180


def test_the_confusion_matrix_counts_the_examples(tmp_path, capsys):
    train(tmp_path / "net.npz", NETWORKS["dense"])
    capsys.readouterr()
    accuracy = run(tmp_path / "net.npz", "--data digits")["accuracy"]
    rows = [line.split()[1:] for line in capsys.readouterr().out.splitlines()[3:]]
    counts = np.array(rows, dtype=int)
    assert counts.shape == (10, 10)
    assert counts.sum() == 60
    assert 100 * np.trace(counts) / 60 == pytest.approx(accuracy)


def damaged(change):
    def damage(path):
        content = json.loads(path.with_suffix(".json").read_text())
        change(content)
        path.with_suffix(".json").write_text(json.dumps(content))

    return damage


DAMAGES = {
    "cannot read": lambda path: path.with_suffix(".json").unlink(),
    "does not describe a network": lambda path: path.with_suffix(".json").write_text("[1, 2]"),
    "does not describe a network (": damaged(lambda content: content.pop("width")),
    "`width` must be at least 1": damaged(lambda content: content.update(width=0)),
    "`weight` must have shape": damaged(lambda content: content.update(layers=5)),
    "not a readable": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "No such file": lambda path: path.unlink(),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_files_that_do_not_fit_are_one_line(message, tmp_path, capsys):
    train(tmp_path / "net.npz", NETWORKS["dense"])
    DAMAGES[message](tmp_path / "net.npz")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "net.npz", "--data digits")
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert message in line


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("--data peaks", "takes examples of shape (64,), these have (2,)"),
        ("--data spectra", "takes examples of shape (64,), these have (220,)"),
        ("--data nothing", "there is no data set 'nothing'"),
        ("--data mnist --data-folder /nowhere", "/nowhere is no folder"),
    ],
)
def test_data_of_another_kind_is_refused(data, message, tmp_path, capsys):
    train(tmp_path / "net.npz", NETWORKS["dense"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "net.npz", data)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
