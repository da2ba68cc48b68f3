"""Sphinx configuration; the build needs no network."""

import importlib.util
import logging
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.util.inspect import signature, stringify_signature

sys.path.insert(0, str(Path(__file__).parents[1]))

import pint

project = "pint"
author = "the pint developers"
project_copyright = author
version = release = pint.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    # Formulas from files beside the pages; without this package they need a network.
    *(["sphinx-mathjax-offline"] if importlib.util.find_spec("sphinx-mathjax-offline") else []),
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "generated"]
html_theme = "furo"
html_title = f"pint {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# Names in single backticks are Python objects where there are such, else just code.
default_role = "py:obj"
python_maximum_signature_line_length = 88
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
numpydoc_show_class_members = False
# The environment of the documentation has no PETSc, and may lack the others.
autodoc_mock_imports = [
    name for name in ("petsc4py", "torch", "jax") if not importlib.util.find_spec(name)
]

# Programs of the gallery run at each build; those of packages that are not there are left out.
_NEEDS = {
    "jax": "jax",
    "own_layer": "torch",
    "3_machine_learning": "torch",
    "boundary_flux": "skfem",
}
_MISSING = [name for name, package in _NEEDS.items() if not importlib.util.find_spec(package)]
sphinx_gallery_conf = {
    "examples_dirs": ["../examples/tutorials", "../examples/gallery"],
    "gallery_dirs": ["tutorials", "gallery"],
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"plot_",
    "ignore_pattern": "|".join(rf"plot_{name}\.py" for name in _MISSING) or r"\.nothing$",
    "abort_on_example_error": True,
    # As many programs at a time as `sphinx-build -j` says
    "parallel": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "plot_gallery": "True",
    "write_computation_times": False,
}
suppress_warnings = ["config.cache"]
logging.getLogger("pint").setLevel(logging.WARNING)


def _of_the_constructor(
    app: Any, what: str, name: str, obj: Any, options: Any, given: str, returned: str
) -> tuple[str, None] | None:
    """Return the arguments of a method of optimisation, whose ``__new__`` takes any."""
    if what != "class" or not issubclass(obj, pint.optimise.Method):
        return None
    arguments = signature(obj.__init__, bound_method=True)
    return stringify_signature(arguments, show_return_annotation=False), None


def _back_to_the_pages(app: Any, page: str, template: str, context: Any, tree: Any) -> None:
    """Mend the links from source code to where a name is explained; a second name has no place."""
    if not page.startswith("_modules/"):
        return
    explained = app.env.domains["py"].objects

    def mended(link: re.Match[str]) -> str:
        return f"{link[1]}#{explained[link[2]].node_id}{link[3]}" if link[2] in explained else ""

    back = re.compile(r'(<a class="viewcode-back" href="[^"#]*)#([^"]+)(">\[docs\]</a>)')
    body = back.sub(mended, context["body"])
    context["body"] = body.replace('<li><a href="builtins.html">builtins</a></li>', "")


def _without_unused_sources(app: Any, env: Any) -> None:
    """Leave out source code that no page refers to, which pages read in parallel leave behind."""
    found = env._viewcode_modules
    for name in [name for name, entry in found.items() if entry and not entry[2]]:
        del found[name]


def setup(app: Any) -> None:
    """Sphinx calls this."""
    if "sphinx-mathjax-offline" in app.extensions:
        # It only copies files, but does not say so, and pages would be read one by one.
        app.extensions["sphinx-mathjax-offline"].parallel_read_safe = True
    app.connect("html-page-context", _back_to_the_pages)
    app.connect("autodoc-process-signature", _of_the_constructor)
    app.connect("env-updated", _without_unused_sources)
