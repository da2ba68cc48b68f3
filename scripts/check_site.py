"""Check the built pages: links and anchors resolve, each page has one heading and a way to it.

    python scripts/check_site.py docs/_build/html

Prints what is wrong and ends with 1. Links to other sites are checked by their form, since the
build needs no network: https, and for a DOI its pattern.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

GENERATED = re.compile(r"(_modules/.*|genindex|py-modindex|search)\.html")
"""Pages that no author writes: they are in no table of contents, and `search` fills itself."""
DOI = re.compile(r"https://doi\.org/10\.\d{4,9}/\S+")
FORMULA_OF_TWO_BACKSLASHES = re.compile(r"\\\\[A-Za-z]{2,}")


class Page(HTMLParser):
    """Anchors, links, those of tables of contents, headings, pictures and formulas of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = {"", "top"}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.contents: list[str] = []
        self.headings = 0
        self.pictures: list[str] = []
        self.formulas: list[str] = []
        self._in_contents, self._in_formula = False, False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        given = {name: value or "" for name, value in attrs}
        classes = given.get("class", "").split()
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
            if self._in_contents:
                self.contents.append(given["href"])
        if tag in ("script", "img", "link") and (given.get("src") or given.get("href")):
            self.loaded.append(given.get("src") or given["href"])
        self._in_contents = tag == "li" and any(name.startswith("toctree-l") for name in classes)
        self._in_formula = "math" in classes
        self.headings += tag == "h1"
        if tag == "img" and any(name.startswith("sphx-glr") for name in classes):
            self.pictures.append(given["src"])

    def handle_data(self, data: str) -> None:
        """Note the text of a formula."""
        if self._in_formula:
            self.formulas.append(data)


def wrong(root: Path) -> list[str]:
    """Return what is wrong with the pages of a folder, a line each."""
    pages = {path.relative_to(root).as_posix(): Page(path) for path in root.rglob("*.html")}
    found: list[str] = []
    listed: dict[str, set[str]] = defaultdict(set)
    for name, page in pages.items():
        here = (root / name).parent
        for link in {*page.links, *page.loaded}:
            if "://" in link or link.startswith(("mailto:", "data:")):
                if problem := _elsewhere(link, link in page.loaded):
                    found.append(f"{name}: {link} {problem}")
                continue
            path, anchor = urldefrag(unquote(link))
            target = (here / path.split("?")[0]).resolve() if path else root / name
            other = target.relative_to(root).as_posix() if target.is_relative_to(root) else ""
            if not target.is_file():
                found.append(f"{name}: no file {link}")
            elif other in pages and anchor not in pages[other].anchors:
                found.append(f"{name}: no anchor {link}")
            if link in page.contents and other in pages:
                listed[name].add(other)
        if GENERATED.fullmatch(name):
            continue
        if page.headings != 1:
            found.append(f"{name}: {page.headings} headings of the first kind, not one")
        found += [
            f"{name}: {text.strip()} is not typeset: one backslash, not two"
            for text in page.formulas
            if FORMULA_OF_TWO_BACKSLASHES.search(text)
        ]
        if Path(name).stem.startswith("plot_") and not page.pictures:
            found.append(f"{name}: a program of the gallery without a picture")
    return found + _out_of_reach(pages, listed)


def _elsewhere(link: str, loaded: bool) -> str:
    if loaded:
        return "is loaded from another site; pages open without a network (sphinx-mathjax-offline)"
    if not link.startswith("https://"):
        return "is not https"
    if link.startswith("https://doi.org") and not DOI.fullmatch(link):
        return "is no DOI"
    return ""


def _out_of_reach(pages: dict[str, Page], listed: dict[str, set[str]]) -> list[str]:
    seen, new = set(), ["index.html"]
    while new:
        name = new.pop()
        seen.add(name)
        new += listed[name] - seen
    lost = [name for name in pages if name not in seen and not GENERATED.fullmatch(name)]
    return [f"{name}: in no table of contents" for name in sorted(lost)]


if __name__ == "__main__":
    mistakes = wrong(Path(sys.argv[1]).resolve())
    print(*mistakes, sep="\n", end="\n" if mistakes else "")
    sys.exit(bool(mistakes))
