"""Pages of the documentation: programs print what pages say, links lead somewhere."""

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NEEDS = {"coming_from_firedrake": "skfem", "coming_from_pytorch": "torch"}
PROGRAMS = sorted(path.stem for path in (DOCS / "examples").glob("coming_from_*.py"))
GALLERY = sorted((ROOT / "examples" / "gallery").glob("*/plot_*.py"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_the_other_side_by_side_prints(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    path, text = DOCS / "examples" / f"{name}.py", io.StringIO()
    spec = importlib.util.spec_from_file_location(name, path)
    with contextlib.redirect_stdout(text):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    shown = [page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")]
    shown = [page for page in shown if f"{{literalinclude}} examples/{name}.py" in page]
    assert shown and all(text.getvalue().strip() in page for page in shown)


@pytest.mark.parametrize(
    ("package", "printed"), [("casadi", "J = 2.87980918"), ("pymgrit", "0.0074108167")]
)
def test_what_the_code_of_the_other_program_prints(package, printed, capsys):
    """Where it is installed, as in the environment of the benchmarks."""
    pytest.importorskip(package)
    page = (DOCS / f"coming_from_{package}.md").read_text(encoding="utf-8")
    assert printed in page
    exec(re.search(r"^```\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)[1], {})
    assert printed in capsys.readouterr().out


def rows_of(page, first, second):
    """Return the rows of a page's tables that begin with two cells, each a list of cells."""
    lines = (DOCS / f"{page}.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if row[:2] == [first, second]]


def test_numbers_of_the_table_of_methods():
    """They are those of the tables that it names."""
    page = (DOCS / "which_method.md").read_text(encoding="utf-8")
    small, middle, large = (
        rows_of("all_at_once", "van-der-pol", steps)[0] for steps in ("64", "4,096", "65,536")
    )
    assert f"van der Pol in {small[2]} iterations where L-BFGS takes {small[4]} updates" in page
    assert f"{middle[-1]} and {large[-1]} times as fast as CasADi" in page
    ((*_, newton, _, _),) = rows_of("constraints", "bryson-denham", "Gauss-Newton")
    ((*_, lbfgs, _, _),) = rows_of("constraints", "bryson-denham", "L-BFGS")
    assert f"Bryson-Denham in {newton} iterations, by L-BFGS in {lbfgs}" in page
    ((_, _, wolfe, *_),) = rows_of("ode_problems", "heat", "10 (11)")
    assert f"heat in {wolfe.split()[0]} updates" in page
    ((*_, ratio),) = rows_of("performance", "one-shot, 2 ranks", "0.151")
    assert f"two ranks {ratio} times as fast as sequential training" in page


def test_links_between_pages_and_to_files():
    """Those to headings are resolved by the build, where a warning is an error."""
    broken = []
    for page in [*DOCS.glob("*.md"), *ROOT.glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        plain = re.sub(r"```.*?```|\$.*?\$", "", text, flags=re.DOTALL)
        for target in re.findall(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)", plain):
            if "://" not in target and not (page.parent / target).exists():
                broken.append((page.name, target))
        for target in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
            program = ROOT / "examples" / f"{target}.py"  # of which the build makes a page
            pages = [DOCS / f"{target}.md", DOCS / f"{target}.rst"]
            if not any(path.exists() for path in (program, *pages)):
                broken.append((page.name, target))
        for target in re.findall(
            r"`((?:benchmarks|examples|problems|tests)/[a-z_/0-9]+\.py)", text
        ):
            if not (ROOT / target).exists():
                broken.append((page.name, target))
    assert broken == []


def test_programs_of_the_gallery_are_short():
    assert len(GALLERY) >= 20
    for path in GALLERY:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 60, path.name
        title = text.split("\n")[1]
        assert text.split("\n")[2] == "=" * len(title), path.name


def test_every_page_is_in_the_table_of_contents():
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    listed = set()
    for path in DOCS.glob("*.md"):
        for block in re.findall(r"```\{toctree\}(.*?)```", path.read_text("utf-8"), re.DOTALL):
            listed |= {line.strip() for line in block.splitlines()}
    assert pages - listed == set()
