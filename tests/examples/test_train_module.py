"""`train_module.py`: built-in and own layers, files, and options without a meaning."""

import json

import pytest

torch = pytest.importorskip("torch")

import train_module

import pint

SMALL = "--examples 200 --test-examples 100 --layers 8 --quiet"


def run(text):
    return train_module.main(text.split())


@pytest.mark.parametrize("module", ["attention", "convolutional", "dense"])
def test_layers_learn_digits(module, tmp_path, capsys):
    files = " ".join(
        f"--{kind} {tmp_path}/r.{end}"
        for kind, end in (("json", "json"), ("plot", "png"), ("history", "csv"), ("save", "pt"))
    )
    found = run(f"--module {module} {SMALL} --epochs 4 --batch 25 --learning-rate 0.02 {files}")
    assert found["validation_accuracy"] > 60
    assert "validation accuracy" in capsys.readouterr().out
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["validation_accuracy"] == found["validation_accuracy"]
    assert (tmp_path / "r.png").stat().st_size > 1000
    assert len((tmp_path / "r.csv").read_text().splitlines()) == found["iterations"] + 1
    weights = torch.load(tmp_path / "r.pt")
    assert len(weights["layers"]) == 8


def test_one_shot_on_peaks_by_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "def gated(shape, classes, width):\n"
        "    block = nn.Sequential(nn.Linear(width, 2 * width), nn.GLU())\n"
        "    return nn.Linear(shape[0], width), block, nn.Linear(width, classes)\n"
    )
    found = run(
        f"--module {file}:gated --data peaks {SMALL} --optimiser lbfgs --method one-shot "
        "--iterations 10 --precision float64 --final-time 1"
    )
    assert found["loss"] < 1.4  # five classes by chance: 1.61
    assert found["iterations"] == 10


def test_states_on_a_device(monkeypatch):
    monkeypatch.setattr("arguments.prediction.LEAST_SECONDS", 0.0)  # as a long run
    losses = [
        run(f"--module dense {SMALL.replace('--quiet', '')} --epochs 1 {options}")["loss"]
        for options in ("", "--device cpu", "--device cpu --precision bfloat16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=0.05) and losses[2] != losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--module nothing", "or FILE.py:NAME"),
        ("--device nowhere", "argument --device: `TorchSpace(device=...)` must be a device"),
        ("--module nothing.py:made", "there is no file"),
        ("--module convolutional --data peaks", "needs images"),
        ("--module attention --width 3", "must be even"),
        ("--optimiser lbfgs --epochs 3", "has no meaning"),
        ("--optimiser lbfgs --clip 3", "has no meaning"),
        ("--decay 1 --schedule step", "takes the place of --decay"),
        ("--metric time", "unrecognized"),
    ],
)
def test_wrong_options(options, message, capsys):
    with pytest.raises(SystemExit) as ended:
        run(f"{options} --examples 50 --quiet")
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_run_is_resumed(tmp_path):
    options = f"--module dense {SMALL} --batch 25 --schedule cosine --patience 9 --clip 1"
    whole = run(f"{options} --epochs 2 --checkpoint {tmp_path}/whole.npz")

    class Killed(Exception):  # noqa: N818
        pass

    def killed(text):
        with pytest.MonkeyPatch.context() as patch:

            def save(run, *arguments, **more):
                saved(run, *arguments, **more)
                raise Killed

            saved = pint.Checkpoint.save
            patch.setattr(pint.Checkpoint, "save", save)
            with pytest.raises(Killed):
                run(text)

    path = f"--checkpoint {tmp_path}/part.npz"
    killed(f"{options} --epochs 2 --checkpoint-interval 0 {path}")
    resumed = run(f"{options} --epochs 2 {path} --resume")
    assert resumed["objective"] == whole["objective"]
    assert resumed["iterations"] == whole["iterations"]
