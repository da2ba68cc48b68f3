"""Defaults for one rank, options without a meaning, and how failures end."""

import importlib
import time

import numpy as np
import pytest
import train_resnet
from arguments import prediction, rules

import pint

SMALL = "--layers 8 --final-time 1 --examples 40 --quiet"


def main(program, text):
    return importlib.import_module(program).main(text.split())


def test_one_rank_steps_sequentially_unless_cycles_are_asked_for(capsys):
    for options, expected in (
        ("", "sequential: 8 layers on 1 rank(s), 1 level(s)"),
        ("--levels 2", "one-shot: 8 layers on 1 rank(s), 2 level(s)"),
        ("--cycles 1", "one-shot: 8 layers on 1 rank(s), 2 level(s)"),
        ("--method mgrit", "mgrit: 8 layers on 1 rank(s), 2 level(s)"),
    ):
        main("train_resnet", f"{SMALL} --iterations 1 {options}")
        assert capsys.readouterr().out.startswith(expected)
    main("train_resnet", f"{SMALL} --optimiser adam --epochs 1")
    assert capsys.readouterr().out.startswith("adam, sequential: 8 layers")


def test_a_long_sequential_run_says_what_ranks_would_gain(monkeypatch, capsys):
    """As many as the model predicts with the costs of this machine."""
    monkeypatch.setattr(prediction, "LEAST_SECONDS", 0.0)
    costs = []
    measure = pint.model.measure
    monkeypatch.setattr(
        pint.model, "measure", lambda *a, **k: costs.append(measure(*a, **k)) or costs[-1]
    )
    main("ode_control", "--problem van-der-pol --steps 128 --iterations 2")
    line = next(one for one in capsys.readouterr().out.split("\n") if "more ranks" in one)
    gains = [
        pint.model.suggest(costs[0], 128, ranks, largest_stride=16).best.gain for ranks in (4, 16)
    ]
    assert f"{gains[0]:.2g}, {gains[1]:.2g} times as fast on 4, 16 in time" in line
    main("ode_control", "--problem van-der-pol --steps 128 --iterations 2 --method sequential")
    assert "more ranks" not in capsys.readouterr().out  # what was asked for


def test_batches_by_too_few_cycles_are_pointed_out(capsys):
    deep = "--layers 64 --final-time 30 --examples 40 --batch 4 --epochs 2 --quiet"
    for cycles, warned in (("--levels 2 --coarsening 8 --cycles 1", True), ("", False)):
        main("train_resnet", f"{deep} --optimiser adam {cycles}")
        message = capsys.readouterr().err
        assert ("the residual of the states is" in message) is warned
        assert not warned or message.startswith("warning: `Stochastic(cycles=1)`: at update ")


def test_files_that_are_not_normalised_get_a_hint(tmp_path, capsys):
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 3)) * [1.0, 1.0, 500.0]
    np.savez(tmp_path / "raw.npz", x=x, y=(x[:, 2] > 0).astype(int))
    np.savez(tmp_path / "small.npz", x=x / 500, y=(x[:, 2] > 0).astype(int))
    options = "--layers 4 --iterations 1 --quiet --examples 40"
    for data, more, hinted in (
        ("raw", "", True),
        ("raw", "--normalise", False),
        ("raw", "--no-normalise", False),
        ("small", "", False),
    ):
        main("train_resnet", f"{options} --data {tmp_path}/{data}.npz {more}")
        message = capsys.readouterr().err
        assert message.startswith("train_resnet.py: hint: features are as large as ") is hinted
        assert message.count("\n") == hinted


NAMED = [
    ("ode_control", "--problem scalar-lqr --steps 8", "sequential, 8 steps: J = "),
    ("heat_control", "--points 3 --steps 4", "distributed control, 1-D, sequential, 4 steps: J = "),
    ("train_resnet", f"{SMALL} --optimiser adam --epochs 1", "peaks, 8 layers, adam, sequential"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "options", "name"), NAMED)
def test_pictures_name_their_run(program, options, name, tmp_path):
    pytest.importorskip("matplotlib")
    main(program, f"{options} --plot {tmp_path}/run.svg")
    assert f"<!-- {name}" in (tmp_path / "run.svg").read_text()


FAILING = [
    ("train_resnet", f"{SMALL} --activation relu --final-time 200 --line-search none --seed 1",
     "--line-search wolfe", "diverging"),
    ("ode_control", "--problem scalar-lqr --gradient-tolerance 0",
     "--gradient-tolerance", "line search failed"),
    ("train_resnet", f"{SMALL} --optimiser sgd --learning-rate 100 --batch 10",
     "take a smaller --learning-rate than 100", "diverging"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "options", "advice", "status"), FAILING)
def test_a_run_that_has_failed_ends_with_1_after_its_files(
    program, options, advice, status, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(program, f"{options} --history h.csv")
    printed = capsys.readouterr()
    assert ended.value.code == 1
    assert printed.err.startswith(f"{program}.py: ") and printed.err.count("\n") == 1
    assert advice in printed.err
    assert len((tmp_path / "h.csv").read_text().splitlines()) > 1
    assert "status" in printed.out


MEANINGLESS = [
    ("train_resnet", "--method sequential --levels 2", "--levels"),
    ("train_resnet", "--method sequential --cycles 3", "--cycles"),
    ("train_resnet", "--method sequential --relaxation F", "--relaxation"),
    ("train_resnet", "--method sequential --tolerance 1e-3", "--tolerance"),
    ("train_resnet", "--method sequential --no-lagged", "--lagged"),
    ("train_resnet", "--method sequential --coarsening 2", "--coarsening"),
    ("train_resnet", "--method mgrit --levels 1 --cycle F", "--cycle"),
    ("train_resnet", "--optimiser adam --iterations 5", "--iterations"),
    ("train_resnet", "--optimiser sgd --gradient-tolerance 1", "--gradient-tolerance"),
    ("train_resnet", "--optimiser sgd --memory 5", "--memory"),
    ("train_resnet", "--hessian bfgs --memory 5", "--memory"),
    ("train_resnet", "--checkpoint-interval 5", "--checkpoint-interval"),
    ("train_resnet", "--batch 5", "--batch"),
    ("train_resnet", "--optimiser adam --momentum 0.5", "--momentum"),
    ("train_resnet", "--kernel 5", "--kernel"),
    ("train_resnet", "--network convolutional --width 5", "--width"),
    ("train_resnet", "--resume", "--resume"),
    ("train_resnet", "--opening pad --gamma-opening 1", "--gamma-opening"),
    ("train_module", "--iterations 5", "--iterations"),
    ("train_module", "--method sequential --levels 3", "--levels"),
    ("train_module", "--optimiser lbfgs --epochs 5", "--epochs"),
    ("classify", "w.npz --data new.csv --seed 3", "--seed"),
    ("classify", "w.npz --data new.csv --probabilities", "--probabilities"),
    ("classify", "w.npz --data new.csv --data-folder .", "--data-folder"),
    ("heat_control", "--space-coarsening", "--space-coarsening"),
    ("pde_control", "--stabilisation supg", "--stabilisation"),
    ("pde_control", "--problem heat-boundary --dimension 2", "--dimension"),
    ("heat_control", "--levels 3", "--levels"),
    ("heat_control", "--method mgrit --levels 1 --coarsening 2", "--coarsening"),
    ("heat_control", "--unconverged error", "--unconverged"),
    ("ode_control", "--cycles 3", "--cycles"),
    ("one_shot_study", "--rules sequential --levels 3", "--levels"),
    ("ode_control", "--coarse implicit-euler", "--coarse"),
    ("ode_control", "--method mgrit --levels 1 --correction full", "--correction"),
    ("ode_control", "--hessian exact", "--hessian"),
    ("ode_control", "--method gauss-newton --relaxation F", "--relaxation"),
    ("ode_control", "--method one-shot --checkpoint-interval 1", "--checkpoint-interval"),
]


def test_options_without_a_meaning_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for program, options, name in MEANINGLESS:
        if program == "train_module":
            pytest.importorskip("torch")
        with pytest.raises(SystemExit) as ended:
            main(program, options)
        message = capsys.readouterr().err
        assert ended.value.code == 2, options
        assert message.startswith(f"{program}.py: error: argument {name}: "), message
        assert message.count("\n") == 1 and "{" not in message
    assert not list(tmp_path.iterdir())


def test_the_table_is_about_options_of_the_programs():
    known = {"given", "ranks"}
    for program in ("train_resnet", "train_module", "classify", "heat_control", "pde_control",
                    "ode_control", "one_shot_study"):  # fmt: skip
        parser = importlib.import_module(program).parser(pint.SerialComm())
        known |= {action.dest for action in parser._actions}
    for row in rules.MEANINGS:
        assert set(f"{row.options} {row.others}".split()) <= known
    for row in rules.RULES:
        assert set(row.options.split()) <= known


def test_options_that_do_have_one_are_taken():
    parser = train_resnet.parser(pint.SerialComm())
    options = parser.parse_args(["--method", "sequential", "--no-normalise"])
    assert options.given == {"method", "normalise"}
    main("train_resnet", f"{SMALL} --method sequential --levels 1 --iterations 1")


def test_the_time_of_all_depths_is_counted(capsys):
    found = main("train_resnet", f"{SMALL} --iterations 2 --start-layers 2")
    lines = capsys.readouterr().out.split("\n")
    before = [
        float(line.split()[-2]) for line in lines if line.startswith(("2 layers", "4 layers"))
    ]
    own = float(next(line for line in lines if line.startswith("updates")).split()[3])
    assert len(before) == 2
    assert found["seconds"] == pytest.approx(sum(before) + own, abs=0.02)


def test_the_time_after_the_last_row_is_counted():
    """As that of a first line search that fails."""
    waited = []

    class Slow(pint.TimeStepper):
        initial_state = np.ones(1)

        def step(self, s, y, u, theta):
            if waited:
                time.sleep(0.05)
            return y + s.dt * u["u"]

    class Cost(pint.Objective):
        def terminal(self, y, theta):
            return 0.5 * float(y[0] ** 2)

        def terminal_derivative(self, y, theta):
            return y, {}

    problem = pint.Problem(Slow(), None, Cost(), {"u": pint.TimeControl(1)})
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 2))
    method = pint.ReducedSpace(iterations=0)
    result = pint.minimize(functional, None, method, callback=lambda *_: waited.append(True))
    assert result.seconds >= result.history[-1].seconds + 0.1  # the two steps that end the run
