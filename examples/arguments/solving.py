"""From options to grid, functional, method and result."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from typing import Any

import pint


def make_checkpoint(options: argparse.Namespace) -> pint.Checkpoint | None:
    """Return the checkpoint of the options, if they have one."""
    if options.checkpoint is None:
        return None
    return pint.Checkpoint(options.checkpoint, options.checkpoint_interval, options.resume)


def most_cycles(options: argparse.Namespace) -> int:
    """Return the largest number of cycles of a solve to tolerance."""
    return 30 if options.cycles in (None, "adaptive") else options.cycles


def make_functional(
    options: argparse.Namespace, problem: pint.Problem, grid: pint.TimeGrid
) -> pint.ReducedFunctional:
    """Return the reduced functional with the solver of the options; MGRIT to 1e-12."""
    return pint.ReducedFunctional(
        problem,
        grid,
        accuracy=pint.Accuracy(most_cycles(options), relative=1e-12),
        relaxation=options.relaxation if grid.levels > 1 else "F",
        storage=options.storage,
        correction=getattr(options, "correction", None),
        unconverged=options.unconverged,
    )


def make_method(options: argparse.Namespace, **settings: Any) -> Any:
    """Return the method that the options name, with its settings."""
    if options.method == "gauss-newton":
        return pint.GaussNewton(hessian=options.hessian or "exact", **settings)
    if options.method != "one-shot":
        return pint.ReducedSpace(**settings)
    if options.cycles == "adaptive":
        return pint.Adaptive(**settings)
    tolerance, lagged = getattr(options, "tolerance", None), options.lagged
    if lagged is None:
        # Without a test of the objective nothing would notice that one lagged cycle is too little.
        is_tested = getattr(options, "line_search", "wolfe") != "none"
        lagged = options.cycles == 1 and tolerance is None and is_tested
    if lagged:
        return pint.Lagged(cycles=options.cycles or 2, **settings)
    return pint.OneShot(cycles=options.cycles or 2, tolerance=tolerance, **settings)


def limits_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the limits of every method: its options by name."""
    return {"time_limit": options.time_limit, "evaluations": options.evaluations}


def minimise(
    options: argparse.Namespace,
    functional: pint.ReducedFunctional,
    control: pint.Control,
    constraints: Sequence[Any] = (),
) -> pint.Result:
    """Minimise with method, optimiser, checkpoint and progress of the options. Collective."""
    settings: dict[str, Any] = {
        "iterations": options.iterations,
        "gradient_tolerance": options.gradient_tolerance,
        "relative_gradient_tolerance": options.relative_gradient_tolerance,
        **limits_of(options),
    }
    packages = {"scipy": "scipy:L-BFGS-B", "tao": "tao:blmvm"}
    method = (
        pint.External(packages[options.optimiser], **settings)
        if options.optimiser in packages
        else make_method(options, **settings)
    )
    if constraints:
        method = pint.AugmentedLagrangian(method, constraints)
    checkpoint = make_checkpoint(options)
    shown = pint.Progress(options.iterations) if options.progress else contextlib.nullcontext()
    with shown as callback:
        return pint.minimize(functional, control, method, callback=callback, checkpoint=checkpoint)


def make_grid(
    options: argparse.Namespace,
    final_time: float,
    steps: int,
    comm: Any,
    steps_option: str = "--steps",
) -> pint.TimeGrid:
    """Return the time grid of the solver options; ValueError names options that do not fit."""
    levels = 1 if options.method in ("sequential", "gauss-newton") else options.levels
    for name in ("coarsening", "relaxation"):
        if levels > 1 and len(getattr(options, name)) not in (1, levels - 1):
            raise ValueError(
                f"argument --{name}: give one value, or one for each of the {levels - 1} finer "
                f"levels, got {len(getattr(options, name))}"
            )
    try:
        grid = pint.TimeGrid.uniform(final_time, steps, options.coarsening, levels, comm)
    except ValueError as error:
        raise ValueError(f"argument {steps_option}/--coarsening/--levels: {error}") from None
    if options.storage == "C":
        grid.check_c_points("argument --storage: C")
    return grid
