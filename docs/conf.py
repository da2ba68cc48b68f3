"""Sphinx configuration; the build needs no network."""

import importlib.util
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pint

project = "pint"
author = "the pint developers"
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
    "finite_elements": "skfem",
    "vtk": "meshio",
}
_MISSING = [name for name, package in _NEEDS.items() if not importlib.util.find_spec(package)]
sphinx_gallery_conf = {
    "examples_dirs": ["../examples/tutorials", "../examples/gallery"],
    "gallery_dirs": ["tutorials", "gallery"],
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
