"""Networks in files: what was trained classifies, and a file that does not fit is refused."""

import csv
import json

import classify
import numpy as np
import pytest
import train_resnet

from problems.data import load

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
    rows = [line.split()[1:] for line in capsys.readouterr().out.splitlines()[2:-1]]
    counts = np.array(rows, dtype=int)
    assert counts.shape == (10, 10)
    assert counts.sum() == 60
    assert 100 * np.trace(counts) / 60 == pytest.approx(accuracy)


# New data, in files


def found_in(path, capsys, options):
    """Return numbers, columns of the output and messages of a run on a new file."""
    capsys.readouterr()
    numbers = classify.main([str(path / "net.npz"), "--output", f"{path}/new.csv", *options])
    with open(path / "new.csv", newline="") as file:
        head, *rows = csv.reader(file)
    columns = dict(zip(head, zip(*rows, strict=True), strict=True))
    return numbers, columns, capsys.readouterr().err


@pytest.mark.parametrize("name", ["dense", "convolutional"])
def test_new_examples_in_any_form(name, tmp_path, capsys):
    train(tmp_path / "net.npz", NETWORKS[name])
    data = load("digits", examples=120, test_examples=60)
    x, labels = data.x_test, data.labels_test.argmax(axis=1)
    _, expected, _ = found_in(
        tmp_path, capsys, "--data digits --examples 120 --test-examples 60".split()
    )
    assert list(expected["given"]) == [str(label) for label in labels]
    right = 100 * np.mean(np.array(expected["found"]) == np.array(expected["given"]))
    one = labels == labels[0]
    table = "".join(",".join(map(repr, row.ravel().tolist())) + "\n" for row in x)
    (tmp_path / "table.csv").write_text(table)
    np.savez(tmp_path / "images.npz", x=x)
    np.savez(tmp_path / "vectors.npz", x=x.reshape(60, 64), y=labels)
    np.savez(tmp_path / "one.npz", x=x[one], y=np.eye(10)[labels[one]])
    for file in ("table.csv", "images.npz", "vectors.npz", "one.npz"):
        numbers, columns, messages = found_in(tmp_path, capsys, ["--data", f"{tmp_path}/{file}"])
        chosen = one if file == "one.npz" else np.full(60, True)
        assert columns["found"] == tuple(np.array(expected["found"])[chosen])
        assert list(map(int, columns["example"])) == list(range(chosen.sum()))
        assert numbers["examples"] == chosen.sum()
        assert not messages
        if file == "vectors.npz":
            assert columns["given"] == expected["given"]
            assert numbers["accuracy"] == pytest.approx(right)
        elif file != "one.npz":
            assert "given" not in columns
            assert numbers["accuracy"] is None


@pytest.mark.parametrize("name", ["plane", "convolutional"])
def test_probabilities_are_those_of_the_loss(name, tmp_path, capsys):
    """Their logarithms give the cross-entropy that the training program reports."""
    trained = train(tmp_path / "net.npz", NETWORKS[name])
    data = NETWORKS[name].split()[:2]
    options = [*data, *"--part training --examples 120 --test-examples 60".split()]
    _, plain, _ = found_in(tmp_path, capsys, options)
    _, columns, _ = found_in(tmp_path, capsys, [*options, "--probabilities"])
    assert {key: columns[key] for key in plain} == plain
    names = [key for key in columns if key.startswith("P(")]
    table = np.array([columns[key] for key in names], dtype=float).T
    np.testing.assert_allclose(table.sum(axis=1), 1.0, rtol=1e-14)
    assert [names[index] for index in table.argmax(axis=1)] == [
        f"P({found})" for found in columns["found"]
    ]
    of_given = [float(columns[f"P({given})"][i]) for i, given in enumerate(columns["given"])]
    assert -np.log(of_given).mean() == pytest.approx(trained["loss"], rel=1e-12)


def test_new_examples_are_normalised_like_those_of_the_training(tmp_path, capsys):
    trained = train(tmp_path / "net.npz", "--data spectra --opening pad")
    raw = load("spectra", examples=120, test_examples=60, normalise=False)
    np.savez(tmp_path / "pixels.npz", x=raw.x_test, y=raw.labels_test)
    numbers, _, messages = found_in(tmp_path, capsys, ["--data", f"{tmp_path}/pixels.npz"])
    assert numbers["accuracy"] == trained["validation_accuracy"]
    assert not messages
    # Pixels of other seeds, too: the mean of other examples is another.
    other = ["--data", "spectra", "--seed", "7", "--test-examples", "90"]
    both = [found_in(tmp_path, capsys, [*other, "--examples", count])[1] for count in ("50", "60")]
    assert both[0] == both[1]


def test_names_of_classes_and_a_column_of_labels(tmp_path, capsys):
    random = np.random.default_rng(0)
    x = random.standard_normal((80, 3))
    names = np.array(["elm", "oak", "ash"])[x.argmax(axis=1)]
    text = "kind,a,b,c\n" + "".join(
        f"{name},{a!r},{b!r},{c!r}\n"
        for name, (a, b, c) in zip(names, (1e3 * x).tolist(), strict=True)
    )
    (tmp_path / "trees.csv").write_text(text)
    data = f"--data {tmp_path}/trees.csv --label kind"
    options = f"{data} --normalise --examples 50 --test-examples 20 --layers 4 --quiet"
    trained = train_resnet.main([*options.split(), "--save", str(tmp_path / "net.npz")])
    assert trained["validation_accuracy"] > 80
    numbers, columns, _ = found_in(tmp_path, capsys, data.split())
    assert columns["given"] == tuple(names)
    assert numbers["accuracy"] > 80
    np.savez(tmp_path / "numbers.npz", x=1e3 * x, y=x.argmax(axis=1))  # 0 is ash, the first name
    _, columns, _ = found_in(tmp_path, capsys, ["--data", f"{tmp_path}/numbers.npz"])
    assert columns["given"][0] == ("ash", "elm", "oak")[x[0].argmax()]
    np.savez(tmp_path / "numbers.npz", x=1e3 * x, y=x.argmax(axis=1) + 1)
    with pytest.raises(SystemExit):
        classify.main([f"{tmp_path}/net.npz", "--data", f"{tmp_path}/numbers.npz"])
    assert (
        "has the label '1'; expected names of the network's classes, ash, elm, oak"
        in capsys.readouterr().err
    )


def test_inputs_of_another_scale_are_pointed_out(tmp_path, capsys):
    train(tmp_path / "net.npz", NETWORKS["convolutional"])
    np.savez(tmp_path / "raw.npz", x=16 * load("digits").x_test[:5])
    _, _, messages = found_in(tmp_path, capsys, ["--data", f"{tmp_path}/raw.npz"])
    assert "warning: inputs from 0 to 16, those of the training are from 0 to 1" in messages


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
    "two classes have the same name": damaged(
        lambda content: content.update(class_names=["a"] * 10)
    ),
    "2 names for 10 classes": damaged(lambda content: content.update(class_names=["a", "b"])),
    "`normalisation` is not finite": damaged(
        lambda content: content.update(normalisation={"mean": [float("nan")], "factor": [1.0]})
    ),
    "(operands": damaged(
        lambda content: content.update(normalisation={"mean": [0.0] * 3, "factor": [1.0]})
    ),
    "nested too deeply": lambda path: path.with_suffix(".json").write_text("[" * 100000),
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
        ("--data new.npz", "argument --examples: needs --part, or a data set that is no file"),
        ("--data new.npz --part all", "new.npz cannot be read"),
        ("--data digits --label kind", "argument --label: `label` names a column of a CSV file"),
    ],
)
def test_data_of_another_kind_is_refused(data, message, tmp_path, capsys):
    train(tmp_path / "net.npz", NETWORKS["dense"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "net.npz", data)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
