"""The documentation: its code runs, prints what the pages say, and leaves nothing out."""

import contextlib
import doctest
import importlib
import importlib.util
import io
import pkgutil
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from training_history import HISTORY_COLUMNS

import pint
import problems

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MODULES = [
    module.name
    for package in (pint, problems)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


def load(path):
    """Return the module in a file that is no part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def printed(function, *arguments):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        result = function(*arguments)
    return output.getvalue(), result


def test_double_integrator():
    """The optimum was computed independently."""
    page = (DOCS / "defining_a_problem.md").read_text(encoding="utf-8")
    text, optima = printed(load(DOCS / "examples" / "double_integrator.py").main)
    assert set(optima) == {"sequential", "mgrit", "one-shot"}
    for objective in optima.values():
        assert objective == pytest.approx(5.06187699853476e-2, abs=1e-10, rel=1e-10)
    assert f"```text\n{text}```" in page


@pytest.mark.parametrize(
    ("name", "first", "last", "most"),
    [
        ("double_integrator", "import numpy as np", "METHODS = {", 22),
        ("van_der_pol", "import sympy", "functional = ", 13),
    ],
)
def test_a_problem_is_short(name, first, last, most):
    """By hand, and by sympy."""
    text = (DOCS / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert lines_of(text[text.index(first) : text.index(last)]) <= most


def lines_of(text):
    """Return the number of lines that are not blank."""
    return sum(bool(line.strip()) for line in text.split("\n"))


def test_fast_step():
    page = (DOCS / "defining_a_problem.md").read_text(encoding="utf-8")
    text, optima = printed(load(DOCS / "examples" / "fast_step.py").main)
    assert optima[0] == pytest.approx(optima[1], rel=1e-12)
    assert f"```text\n{text}```" in page


def test_heat_rod():
    problem = load(DOCS / "examples" / "heat_rod.py").problem(points=12)
    pint.verify.check_problem(problem, pint.TimeGrid.uniform(0.1, 4, 2, 2)).require()


def test_reaction_and_diffusion():
    pytest.importorskip("skfem")
    page = (DOCS / "finite_elements.md").read_text(encoding="utf-8")
    text, _ = printed(load, DOCS / "examples" / "reaction_diffusion.py")
    assert f"```text\n{text}```" in page


@pytest.mark.petsc
def test_heat_with_matrices_of_dolfinx():
    """The optimum is constant in space: that of ``y' = u``, by normal equations."""
    pytest.importorskip("dolfinx")
    result = load(DOCS / "examples" / "heat_dolfinx.py").minimised(cells=4, steps=16)
    integral = np.tril(np.ones((16, 16))) / 16
    control = np.linalg.solve(integral.T @ integral + 1e-3 * np.eye(16), integral.sum(axis=0))
    squares = ((integral @ control - 1) ** 2).sum() + 1e-3 * (control**2).sum()
    assert result.objective == pytest.approx(0.5 / 16 * squares, rel=1e-8)


def test_linear_quadratic():
    page = (DOCS / "lq.md").read_text(encoding="utf-8")
    text, _ = printed(load, DOCS / "examples" / "lq.py")
    assert f"```text\n{text}```" in page


def test_reporting(monkeypatch, tmp_path, capfd):
    monkeypatch.syspath_prepend(str(DOCS / "examples"))
    monkeypatch.chdir(tmp_path)
    names = vars(load(DOCS / "examples" / "reporting.py"))
    out, err = capfd.readouterr()
    history = names["result"].history
    assert f"J fell from {history[0].objective:.6f} to {history[-1].objective:.6f}" in out
    assert [line.split()[0] for line in out.split("\n")[1:-1]] == list(pint.report.timing.PHASES)
    header, *rows = Path("history.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith("iteration,objective,")
    assert len(rows) == len(history)
    page = (DOCS / "reporting.md").read_text(encoding="utf-8")
    for row in (history[0], history[-1]):
        line = f"iteration {row.iteration:2d}/50  J = {row.objective:.8e}"
        assert line in err
        assert line in page


def blocks_of(page):
    """Return code and output blocks of a page, in order."""
    return re.findall(r"```(python|text)\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)


def test_coming_from_pytorch():
    """All code of the page runs, in order, and prints what follows it."""
    torch = pytest.importorskip("torch")
    names, text = {}, ""
    try:
        for kind, block in blocks_of(DOCS / "coming_from_pytorch.md"):
            if kind == "python":
                assert text == "", "output without a block"
                text, _ = printed(exec, block, names)
            else:
                assert text == block
                text = ""
    finally:
        torch.set_default_dtype(torch.float32)
    assert names["result"].objective == pytest.approx(names["loss"].item(), rel=1e-10)


def test_readme():
    blocks = blocks_of(ROOT / "README.md")
    assert [kind for kind, _ in blocks] == ["python", "text"] * 2
    text, _ = printed(exec, blocks[0][1], {})
    assert text == blocks[1][1]


def test_readme_network():
    pytest.importorskip("torch")
    (_, code), (_, expected) = blocks_of(ROOT / "README.md")[2:]
    text, _ = printed(exec, code, {})
    assert text == expected


def test_readme_names_the_folders():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for folder in ("pint", "problems", "examples", "benchmarks", "tests", "docs", "scripts"):
        assert f"| `{folder}/` |" in text


NEED_PETSC = (
    "pint.petsc",
    "pint.states.petsc",
    "problems.allen_cahn_petsc",
    "problems.finite_elements.on_petsc",
    "problems.heat_petsc",
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.petsc] * name.startswith(NEED_PETSC))
        for name in ("pint", *MODULES)
    ],
)
def test_docstrings(name):
    if name in ("pint.steppers.compiled.numba_adaptor", "pint.lq.kernels"):
        pytest.importorskip("numba")
    if name.startswith("problems.finite_elements"):
        pytest.importorskip("skfem")
    for library in ("torch", "jax"):
        needs = library == "torch" and name == "problems.modules"
        if needs or name.endswith(f".{library}") or name.startswith(f"pint.{library}"):
            pytest.importorskip(library)
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert failures == 0


def test_every_public_name_is_listed():
    page = (DOCS / "api" / "pint.md").read_text(encoding="utf-8")
    missing = [name for name in pint.__all__ if f"`pint.{name} <" not in page]
    assert missing == ["model", "verify"]
    assert "`pint.model`" in page and "`pint.verify`" in page


def test_every_package_has_a_page():
    """And every module that belongs to no package."""
    pages = {path.stem for path in (DOCS / "api").iterdir()}
    index = (DOCS / "api" / "index.md").read_text(encoding="utf-8").split()
    modules = [name for name in MODULES if name.count(".") == 1]
    assert [name for name in modules if name not in pages or name not in index] == []


@pytest.fixture(scope="module")
def training():
    """Return the example program and the page about it."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        program = load(ROOT / "examples" / "train_resnet.py")
    finally:
        sys.path.remove(str(ROOT / "examples"))
    return program, (DOCS / "training_a_network.md").read_text(encoding="utf-8")


def test_every_option_is_explained(training):
    program, page = training
    usage = program.parser(pint.SerialComm()).format_help()
    options = set(re.findall(r"(--[a-z][a-z-]+)", usage)) - {"--help"}
    rows = re.findall(r"^\| `(--[a-z-]+)", page, flags=re.MULTILINE)
    assert sorted(rows) == sorted(options)


def test_every_history_column_is_explained(training):
    _, page = training
    table = page[page.index("| column |") :]
    assert re.findall(r"^\| `([a-z_]+)` \|", table, flags=re.MULTILINE) == HISTORY_COLUMNS


def test_the_version_is_the_same_everywhere():
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    cited = re.search(
        r'^version: (.+)\ndate-released: "(.+)"$', (ROOT / "CITATION.cff").read_text(), re.M
    )
    released = re.search(r"^## \[(\d.+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert project[1] == pint.__version__
    assert cited.groups() == released.groups() == (pint.__version__, released[2])
