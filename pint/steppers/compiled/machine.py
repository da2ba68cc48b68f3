"""From the scalar code of a right-hand side to loops in machine code."""

from __future__ import annotations

import hashlib
import importlib
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from types import ModuleType
from typing import Any

from pint.steppers.compiled import cache
from pint.steppers.compiled.coarse_code import Scheme, step_code
from pint.steppers.compiled.scheme_code import HELPERS, vectors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScalarCode:
    """The functions of one state in plain numbers that `kernels` calls, as source code.

    ``_f``, ``_f_vjp``, ``_f_jacobian``, ``_running``, ``_running_gradient``. States and blocks of
    the control are tuples of numbers there, shared parameters an array of all of them.

    Attributes
    ----------
    text : str
    states : int
        Length of a state.
    controls : tuple of int
        Length of a block of each time-dependent field.
    parameters : int
        Length of all shared fields together.
    timed : bool
        Whether something depends on the time.
    workspace : str
        Code of further arrays that the functions find in ``work`` from place 2 on.
    functions : mapping of str to callable
        What else the code calls: compiled functions of the user's. What contains them is compiled
        in every process, once, because nobody can tell whether they have changed since another.
    """

    text: str
    states: int
    controls: tuple[int, ...]
    parameters: int
    timed: bool
    workspace: str = ""
    functions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """The loops over the steps of one scheme and one right-hand side; compiled when first used.

    Attributes
    ----------
    code : ScalarCode
    scheme : Scheme
        From `scheme_of`.
    with_costs : bool
        Whether the costs are there: on coarse levels nobody needs them.
    """

    code: ScalarCode
    scheme: Scheme
    with_costs: bool = True

    def __reduce__(self) -> Any:
        return Machine, (self.code, self.scheme, self.with_costs)

    @property
    def names(self) -> tuple[str, ...]:
        """The loops that there are."""
        return STEPS + COSTS if self.with_costs else STEPS

    @cached_property
    def text(self) -> str:
        """The source of the module that is compiled."""
        code, inputs = self.code, sum(self.code.controls)
        n = code.states
        steps, arrays = step_code(self.scheme, n, inputs)
        arrays = [
            f"numpy.empty(({n}, {n + 1}))",
            f"numpy.empty(({n}, {n}))",
            code.workspace,
            *arrays,
        ]
        loops = files(__package__).joinpath("kernels.py").read_text().partition("# Loops\n")[2]
        parts = [
            HELPERS,
            f"def _workspace():\n    return ({', '.join(filter(None, arrays))})",
            code.text,
            vectors(n, code.controls),
            steps,
            loops if self.with_costs else loops.partition("\n\ndef costs(")[0],
        ]
        text = "\n\n".join(parts)
        text = re.sub(r"^def _", "@inner\ndef _", text, flags=re.MULTILINE)
        for name in self.names:
            text = text.replace(f"\ndef {name}(", f"\n@outer({name!r})\ndef {name}(")
        return text

    @cached_property
    def kernels(self) -> dict[str, Any]:
        """The compiled loops by name.

        Raises
        ------
        ValueError
            If the code cannot be compiled; the message says why.
        ImportError
            If numba is not installed.
        """
        adaptor = compiler()
        fields = max(len(self.code.controls), 1)

        def compiled(path: str | None) -> dict[str, Any]:
            # Machine code of two modules of one name would be taken for the same; what is kept in
            # files looks for its module by name.
            module = ModuleType(f"pint_{hashlib.sha256(self.text.encode()).hexdigest()}")
            sys.modules[module.__name__] = module
            names = vars(module)
            names.update(adaptor.names(fields, to_file=path is not None))
            names.update(self.code.functions)
            try:
                exec(compile(self.text, path or "<compiled steps>", "exec"), names)
            except adaptor.ERRORS as error:
                reason = " ".join(str(error).split())
                raise ValueError(f"the steps cannot be compiled: {reason[:200]}") from error
            return {name: names[name] for name in self.names}

        # One problem is often made several times in a process: by studies, on many grids.
        functions = self.code.functions
        key = str(cache.folder()), self.text, frozenset(functions.items())
        if key not in _LOADED and functions:
            _LOADED[key] = compiled(None)
        elif key not in _LOADED:
            _LOADED[key] = cache.kept(self.text, adaptor.versions(), compiled)
        return _LOADED[key]


def compiler() -> Any:
    """Return the module that imports numba; ImportError, which says what to do, without it."""
    try:
        return importlib.import_module("pint.steppers.compiled.numba_adaptor")
    except ImportError as error:
        raise ImportError(
            "compiled steps need numba: install the extra `compiled` "
            f'(pip install "pint-control[compiled]"), or use backend="numpy" ({error}).'
        ) from error


_LOADED: dict[tuple[str, str, frozenset[Any]], dict[str, Any]] = {}
"""The loops of this process by the folder that they are kept in, their source, and what it calls.

A copy of a compiled function, made by ``pickle`` or ``copy``, is the function itself."""

STEPS, COSTS = ("advance", "transpose"), ("costs", "cost_slopes")
