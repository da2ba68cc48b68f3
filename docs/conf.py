"""Sphinx configuration; the build needs no network."""

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
    "sphinx.ext.viewcode",
    "numpydoc",
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
autodoc_mock_imports = ["petsc4py", "torch", "jax"]
