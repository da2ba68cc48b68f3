"""The check of the built pages finds each kind of mistake, and nothing on pages without one."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_site.py"
CONTENTS = '<li class="toctree-l1"><a href="page.html">page</a></li>'
INDEX = f'<h1>pint</h1>{CONTENTS}<a href="page.html#part">part</a>'
PAGE = (
    '<h1>page</h1><section id="part"></section><a href="https://doi.org/10.1137/130944230">1</a>'
    r'<span class="math">\(\frac12 \\ y\)</span><script src="mathjax.js"></script>'
)


@pytest.fixture(scope="module")
def wrong():
    """Return the function that checks a folder."""
    spec = importlib.util.spec_from_file_location("check_site", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.wrong


def written(folder, **pages):
    (folder / "mathjax.js").touch()
    for name, text in {"index": INDEX, "page": PAGE, **pages}.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


def test_pages_without_a_mistake(wrong, tmp_path):
    assert wrong(written(tmp_path)) == []


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ({"page": "<h1>page</h1>"}, "index.html: no anchor page.html#part"),
        ({"page": PAGE + '<a href="other.html">o</a>'}, "page.html: no file other.html"),
        ({"page": PAGE + '<img src="other.png">'}, "page.html: no file other.png"),
        ({"page": PAGE + "<h1>again</h1>"}, "page.html: 2 headings"),
        ({"page": PAGE.replace("h1", "h2")}, "page.html: 0 headings"),
        ({"lost": "<h1>lost</h1>"}, "lost.html: in no table of contents"),
        ({"index": INDEX.replace("toctree-l1", "")}, "page.html: in no table of contents"),
        ({"page": PAGE.replace("10.1137", "1137")}, "is no DOI"),
        ({"page": PAGE.replace("https", "http")}, "is not https"),
        ({"page": PAGE.replace("mathjax.js", "https://cdn.net/m.js")}, "open without a network"),
        ({"page": PAGE.replace("frac", "\\frac")}, "one backslash, not two"),
        ({"plot_one": "<h1>1</h1>"}, "plot_one.html: a program of the gallery without a picture"),
    ],
)
def test_a_mistake_is_found(wrong, tmp_path, pages, message):
    found = wrong(written(tmp_path, **pages))
    assert any(message in line for line in found), found
