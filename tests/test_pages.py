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
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert text.getvalue().strip() in page


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
