"""Optimal-control problems made of pint's interfaces."""

import pint

if not hasattr(pint, "ReducedFunctional"):
    raise ImportError(
        f"`import pint` gives the units library Pint ({pint.__file__}), which has the same import "
        "name as pint-control. Use an environment of its own for pint-control."
    )
