"""What an archive of a control must declare."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pint.report.archives import Declared


def check_fields(declared: Mapping[str, Declared], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless arrays may be the fields of a control. Not collective.

    Parameters
    ----------
    declared : mapping of str to Declared
        By name of the field.
    shapes : mapping of str to tuple of int
        Of the fields, all time steps and all ranks together.
    """
    if set(declared) != set(shapes):
        raise ValueError(
            f"it holds the fields {sorted(declared)}, the control has {sorted(shapes)}."
        )
    for name, array in declared.items():
        whole = shapes[name]
        # One block for all steps is for `control` only; a number may stand for one parameter.
        if array.shape != whole and (array.shape or np.prod(whole) > 1):
            raise ValueError(f"`{name}` must have shape {whole}, got {array.shape}.")
        if array.dtype.kind not in "iuf":
            raise ValueError(f"`{name}` must hold real numbers, got {array.dtype}.")
