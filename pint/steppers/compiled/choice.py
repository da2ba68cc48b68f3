"""Whether to compile pays."""

from __future__ import annotations

import logging

from pint.steppers.compiled.machine import compiler

logger = logging.getLogger(__name__)

SWEEPS = 100
"""Expected solves of states and adjoints."""

COMPILING = 5.0
"""Seconds that the compiler takes (``benchmarks/compiled_steps.py``)."""

STEP = 50e-6
"""Seconds of a step in numpy, and of its transpose."""

LARGEST = 32
"""Numbers of a state from which on numpy's functions do most of the work themselves."""


def pays(states: int, steps: int | None) -> bool:
    """Return whether steps in machine code take less time in total, and log that.

    All ranks find the same, since nothing is measured.

    Parameters
    ----------
    states : int
        Length of a state.
    steps : int or None
        Number of time steps; None stands for many.
    """
    if states > LARGEST:
        logger.info("steps in numpy: states of %d numbers are long enough for it", states)
        return False
    if steps is not None and SWEEPS * steps * STEP < COMPILING:
        logger.info("steps in numpy: for %d of them compiling would not pay", steps)
        return False
    try:
        compiler()
    except ImportError as error:
        logger.warning("steps in numpy: %s", error)
        return False
    logger.info("steps in machine code")
    return True
