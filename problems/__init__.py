"""Optimal-control problems made of pint's interfaces."""

import pint

if not hasattr(pint, "ReducedFunctional"):
    raise ImportError(
        f"`import pint` gives {pint.__file__ or list(pint.__path__)}, which is not pint-control's: "
        "the units library Pint has the same import name, and overwrites or hides it. Use an "
        "environment of its own for pint-control, or `pip uninstall pint` and reinstall "
        "pint-control."
    )
