"""Every benchmark runs small, and its numbers agree with each other; no time is asserted."""

import csv
import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import pint

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a program of the folder as it is when it is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (BENCHMARKS / f"{name}.py").exists():
            del sys.modules[name]


@pytest.fixture
def rows_of(load, tmp_path, capsys):
    """Return a function that runs a benchmark small; the table is printed, and a file written."""

    def run(name, *more):
        rows = load(name).main(["--quick", "--output", str(tmp_path), *more])
        output = capsys.readouterr().out
        assert all(column in output for column in rows[0])
        with open(tmp_path / f"{name}.csv", encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == len(rows)
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
        return rows

    return run


def test_network_gradient(rows_of):
    """Framework, loop, and PyTorch where it is installed, agree, or the benchmark fails."""
    rows = rows_of("network_gradient")
    assert [(row["B"], row["N"]) for row in rows] == [(50, 8), (50, 16)]
    assert all(row["pint/loop"] > 0 for row in rows)


def test_finite_elements(load, tmp_path, capsys):
    pytest.importorskip("skfem")
    rows = load("finite_elements").main(["--quick", "--output", str(tmp_path)])
    assert "slope of control" in capsys.readouterr().out
    assert max(row["mass"] for row in rows if row["table"] == "graded") <= 20
    assert abs(rows[-1]["slope of control"] - 2) <= 0.1


def test_module_gradient(rows_of):
    """Framework and PyTorch agree for five kinds of layers, or the benchmark fails."""
    pytest.importorskip("torch")
    rows = rows_of("module_gradient")
    assert len({row["layer"] for row in rows}) == 5
    assert all(row["pint/PyTorch"] > 0 for row in rows)


def test_network_gradient_notices_a_wrong_gradient(load):
    module = load("network_gradient")
    case = module.make_case(20, 4)
    framework = module.Framework(case)
    loop = module.Loop(case, framework.weights)
    results = {"pint": framework(framework.several[0]), "loop": loop()}
    module.check(results)
    results["loop"][1]["weight"][1, 2, 3] += 1e-6
    with pytest.raises(AssertionError, match="gradient of loop, weight"):
        module.check(results)


def test_device(rows_of):
    """Gradients by PyTorch and by sequential steps agree, or the benchmark fails."""
    pytest.importorskip("torch")
    rows = rows_of("device", "--device", "cpu", "--repeats", "1")
    assert [(row["N"], row["B"]) for row in rows] == [(8, 4), (16, 4)]
    # Two V-cycles are more exact than one lagged update.
    assert all(row["2 cycles error"] < 0.1 * row["lagged error"] < 0.01 for row in rows)


def test_convolution_step(rows_of):
    """Framework, and PyTorch where it is installed, agree, or the benchmark fails."""
    rows = rows_of("convolution_step")
    assert [row["pass"] for row in rows] == ["forward", "forward + backward"] * 2
    assert all(row["pint (ms)"] > 0 for row in rows)


def test_convolution_step_notices_a_wrong_derivative(load):
    module = load("convolution_step")
    results = {"pint": module.Framework(module.make_case(3, 2, 6, 3)).results()}
    results["other"] = [part.copy() for part in results["pint"]]
    module.check(results)
    results["other"][3][1, 0, 2, 1] += 1e-8
    with pytest.raises(AssertionError, match="weight of other"):
        module.check(results)


@pytest.mark.parametrize("name", ["heat_against_pymgrit", "decay_against_pymgrit"])
def test_against_pymgrit(name, rows_of):
    rows = rows_of(name)
    assert {row["program"] for row in rows} == {"pint", "PyMGRIT"}
    tolerance = 1e-7 if name.startswith("heat") else 1e-10
    assert all(row["residual"] < tolerance for row in rows if row["program"] == "pint")


def test_heat_of_the_comparison_has_its_exact_solution(load):
    """u = sin(pi x) cos t: first order in the step size."""
    module = load("heat_against_pymgrit")
    errors = []
    for times in (65, 129):
        problem, grid, control = module.ours(129, times, levels=2)
        solved = module.Ours(lambda: (problem, grid, control), 1e-9).solve()  # noqa: B023
        x, t = problem.stepper.heat.coordinates[0], grid.t[:, None]
        exact = module.first_state(x) * module.np.cos(t)
        errors.append(abs(solved.states - exact).max())
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


def test_van_der_pol_in_parallel(rows_of):
    rows = rows_of("van_der_pol_in_parallel")
    assert max(row["error"] for row in rows) < 1e-9
    assert len({row["method"] for row in rows}) == 5


def test_sparse_theta(load):
    """All kinds of Jacobians give the same gradient, or the benchmark fails."""
    rows = load("sparse_theta").compared(points=15, levels=1, repeats=1)
    assert [row["Jacobian"] for row in rows] == [
        "products", "dense", "banded", "sparse", "bands alone",
    ]  # fmt: skip


def test_delta_correction(rows_of):
    rows = {(row["N"], row["correction"]): row for row in rows_of("delta_correction")}
    for steps, plain, full in ((64, 9, 4), (256, 4, 2)):
        assert (rows[steps, "plain"]["cycles"], rows[steps, "full"]["cycles"]) == (plain, full)
        assert rows[steps, "full"]["adjoint"] == 1 < rows[steps, "plain"]["adjoint"]


@pytest.mark.petsc
@pytest.mark.parametrize(
    "name", ["petsc_heat", "threads_and_data_parallelism", "quasi_newton", "space_coarsening"]
)
def test_on_ranks(name, rows_of):
    """Every layout gives the same gradient, or the benchmark fails."""
    assert len(rows_of(name, "--repeats", "1")) >= 2


def test_implicit_solves(rows_of, load, monkeypatch):
    """What is kept and guessed saves solves, and all steps reach one objective."""
    monkeypatch.setattr(load("implicit_solves"), "mpi_command", lambda: None)
    rows = rows_of("implicit_solves")
    assert [row["method"] for row in rows] == ["MGRIT to 1e-12"] * 3 + ["one-shot"] * 3
    for neither, kept, guessed in (rows[:3], rows[3:]):
        assert guessed["linear solves"] < kept["linear solves"] < neither["linear solves"]


@pytest.mark.petsc
def test_implicit_solves_with_petsc(load, capsys):
    load("implicit_solves").main(["--petsc", "one-shot", "1", "16", "7"])
    each, reused = json.loads(capsys.readouterr().out).values()
    assert each[0] == pytest.approx(reused[0], rel=1e-10)
    assert each[1] <= reused[1] and each[2] == reused[2] and each[3] > reused[3]


@pytest.mark.petsc
def test_petsc_step(load, capsys):
    """Its three parts, which it runs as programs of their own."""
    module = load("petsc_step")
    module.main(["--cost", "6", "3"])
    module.main(["--memory", "petsc", "20", "50"])
    module.main(["--reuse", "6", "2", "1"])
    seconds, sizes, (each, reused) = map(json.loads, capsys.readouterr().out.splitlines())
    assert set(seconds) == {"solve", "transposed solve", "step", "transpose"}
    assert sizes["after"] < 1.02 * sizes["before"]
    assert reused["set up"] < each["set up"] and reused["solves"] >= each["solves"]


@pytest.mark.parametrize("name", ["petsc_heat", "threads_and_data_parallelism"])
def test_without_mpi(name, load, monkeypatch, capsys):
    module = load(name)
    monkeypatch.setattr(module, "mpi_command", lambda: None)
    rows = module.main(["--quick"])
    assert "not installed" in capsys.readouterr().out
    assert all(row["ranks"] == "not installed" for row in rows)


def test_quasi_newton_without_mpi(rows_of, load, monkeypatch):
    """Both directions agree, or the benchmark fails."""
    monkeypatch.setattr(load("quasi_newton"), "mpi_command", lambda: None)
    rows = rows_of("quasi_newton")
    assert [(row["ranks"], row.get("n")) for row in rows] == [
        (1, 16),
        (1, 2000),
        ("not installed", None),
    ]


def test_what_is_missing_is_named(load, monkeypatch, capsys, tmp_path):
    for name in ("network_gradient", "convolution_step", "decay_against_pymgrit"):
        module = load(name)
        for part in (module, sys.modules.get("against_pymgrit", module)):
            monkeypatch.setattr(part, "installed", lambda name: False)
        module.main(["--quick", "--output", str(tmp_path)])
        assert "not installed" in capsys.readouterr().out


def test_times_are_taken_in_turn(load):
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = load("measuring").timings(functions, 3)
    assert calls == ["a", "b"] * 4
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_storage(load, tmp_path, capsys):
    """C-points alone need less memory, and steps again."""
    rows = load("storage").main(["--quick", "--output", str(tmp_path)])
    assert "states" in capsys.readouterr().out
    for problem in ("network", "heat"):
        for cycle in ("lagged F", "FCF"):
            some = [row for row in rows if (row["problem"], row["cycle"]) == (problem, cycle)]
            assert [row["storage"] for row in some] == ["all", "C", "C", "C"]
            assert some[2]["states"] < some[0]["states"]
            assert some[2]["steps"] > some[0]["steps"]


def test_mini_batches(load, tmp_path, capsys):
    sequential, *rows = load("mini_batches").main(["--quick", "--output", str(tmp_path)])
    assert "update (ms)" in capsys.readouterr().out
    assert sequential["gradient error"] < 1e-14
    errors = {(row["cycles"], row["first guess"]): row["gradient error"] for row in rows}
    assert len(errors) == 8
    for start in ("coarse", "nested", "last batch", "own last state"):
        assert errors[2, start] < 0.5 * errors[1, start]
    assert errors[1, "nested"] < 0.5 * errors[1, "last batch"]


def test_bias_control(load, tmp_path, capsys):
    rows = load("bias_control").main(["--quick", "--output", str(tmp_path)])
    assert "estimate / error" in capsys.readouterr().out
    steps = {row["solved by"]: float(row["steps"]) for row in rows}
    assert steps["sequential steps"] < steps["adaptive"] < 1 == steps["2 cycles"]
    objectives = {row["solved by"]: float(row["objective"]) for row in rows}
    assert objectives["adaptive"] == pytest.approx(objectives["sequential steps"], rel=0.01)


def test_runner(load, capfd, tmp_path):
    runner = load("run_all")
    assert runner.main(["--quick", "--output", str(tmp_path), "decay_against_pymgrit"]) == 0
    assert "Scalar decay" in capfd.readouterr().out
    with pytest.raises(SystemExit):
        runner.main(["other"])
    assert "'other' is none of" in capfd.readouterr().err


def test_compiled_steps(rows_of):
    """Steps, the loop, and JAX where it is installed agree, or the benchmark fails."""
    pytest.importorskip("numba")
    rows = rows_of("compiled_steps")
    assert [row["problem"] for row in rows] == ["van-der-pol", "cart-pole"]
    assert all(row["compiled ns/step"] > 0 for row in rows)


def test_compiled_optimisation(load, tmp_path, capsys):
    """All methods end at the same objective."""
    pytest.importorskip("numba")
    options = ["--quick", "--repeats", "1", "--output", str(tmp_path)]
    rows = load("compiled_optimisation").main(options)
    assert "updates" in capsys.readouterr().out
    objectives = [row["J"] for row in rows if "J" in row]
    assert len(objectives) == 3
    np.testing.assert_allclose(objectives, objectives[0], rtol=1e-10)
    assert all(row["gradient"] <= 1e-6 for row in rows if "J" in row)
    assert all(row["lagged, 2 ranks (ms)"] > 0 for row in rows if "J" not in row)


def test_lq_solvers(rows_of):
    """All ways have the same controls, or the benchmark fails."""
    rows = rows_of("lq_solvers")
    assert all(row[way] > 0 for row in rows for way in ("pack", "riccati", "scan"))


def test_lq_solvers_notices_wrong_controls(load):
    module = load("lq_solvers")
    problem = module.packed(module.arrays_of(2, 1, 64))
    solutions = {name: module.solve(problem) for name in ("riccati", "other")}
    module.check(solutions)
    solutions["other"].u[3] += 1e-6
    with pytest.raises(AssertionError, match="controls of other"):
        module.check(solutions)


def test_all_at_once(load, tmp_path, capsys):
    """Each other method ends at the same optimum, or at another one of the catalogue."""
    pytest.importorskip("numba")
    rows = load("all_at_once").main(["--quick", "--output", str(tmp_path)])
    assert "iterations" in capsys.readouterr().out
    first = next(row for row in rows if row["problem"] == "van-der-pol")
    assert first["iterations"] <= 8
    np.testing.assert_allclose(first["lbfgs J"], first["J"], rtol=1e-9)


def test_every_case_is_a_program_and_is_documented(load):
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name in load("run_all").CASES:
        assert f"`{name}`" in page
        text = (BENCHMARKS / f"{name}.py").read_text(encoding="utf-8")
        assert re.search(rf"^    python benchmarks/run_all.py {name} ", text, flags=re.MULTILINE)


def test_ode_problems(load, capsys):
    table = load("ode_problems").main(["--updates", "--problems", "scalar-lqr,batch-reactor"])
    for results in table.values():
        assert {result.status for result in results.values()} == {pint.Status.CONVERGED}
        first, *others = (result.objective for result in results.values())
        assert others == pytest.approx([first] * 3, rel=1e-9)
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[1] for row in rows[2:]] == ["scalar-lqr", "batch-reactor"]
    load("ode_problems").main(["--problems", "scalar-lqr"])
    assert len(capsys.readouterr().out.splitlines()) == 2 + 3 * 4


def test_diagnosis(load, tmp_path, capsys):
    rows = load("diagnosis").main(["--quick", "--output", str(tmp_path)])
    assert len(rows) == 2 and "Steps of state and adjoint" in capsys.readouterr().out
    for row in rows:
        assert row["times fewer"] > 2
        for equation in ("state", "adjoint"):
            measured = row[f"{equation} measured"]
            assert row[f"{equation} predicted"] == pytest.approx(measured, rel=0.1)


def test_newton_cg(rows_of):
    """All methods find one optimum, or the benchmark fails."""
    rows = rows_of("newton_cg")
    assert [row["problem"] for row in rows] == ["van der Pol", "Burgers"]
    for row in rows:
        parts = row["state"] + row["adjoint"] + row["tangent"]
        assert row["newton"] == pytest.approx(parts, abs=0.2)
        assert row["newton"] <= 1.2 * row["lbfgs"]
