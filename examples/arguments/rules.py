"""Which options fit each other."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def is_installed(module: str) -> bool:
    """Whether a module could be imported."""
    return importlib.util.find_spec(module) is not None


def is_depth(layers: int, first: int) -> bool:
    """Whether doubling `first` layers again and again gives `layers`."""
    return layers >= first and layers % first == 0 and (layers // first).bit_count() == 1


@dataclass(frozen=True)
class Rule:
    """A combination of options that has no meaning.

    Attributes
    ----------
    options : str
        The options that the rule is about, the first of which the message blames. Programs that
        lack one of them skip the rule.
    refused : callable
        Condition on the options; ``ranks`` is among them.
    message : str
        May contain options in braces.
    """

    options: str
    refused: Callable[[Any], bool]
    message: str


@dataclass(frozen=True)
class Meaning:
    """Options that have a meaning together with others only; then they may not be given.

    Attributes
    ----------
    options : str
        Those that may be without a meaning.
    others : str
        The options that `has_one` asks for. Programs that lack one of them skip the row.
    has_one : callable
        Condition on all options.
    needed : str
        What it needs; may contain options in braces.
    """

    options: str
    others: str
    has_one: Callable[[Any], bool]
    needed: str


OF_CYCLES = (
    "coarsening relaxation cycles lagged cycle tolerance initial_guess unconverged "
    "coarse correction space_coarsening"
)
NEEDS_CYCLES = "needs cycles: --method mgrit or one-shot, not {method}"
DEFAULT_OPENINGS = {"dense": "trained", "convolutional": "replicate"}
OF_DESCENT = (
    "iterations gradient_tolerance relative_gradient_tolerance hessian memory step line_search"
)
OF_BATCHES = "batch epochs learning_rate decay schedule weight_decay clip patience"
OF_PACKAGES = ("scipy", "tao")
STOCHASTIC = ("sgd", "adam")
OF_MATRICES = 50
"""Numbers that mesh and matrices take for each unknown, about."""
OF_NEWTON = ("gauss-newton", "exact")

MEANINGS = (
    Meaning("levels", "method", lambda o: has_cycles(o) or o.levels == 1, NEEDS_CYCLES),
    Meaning(OF_CYCLES, "method", lambda o: has_cycles(o), NEEDS_CYCLES),
    Meaning(OF_CYCLES, "method levels", lambda o: o.levels > 1, "needs --levels 2 or more"),
    Meaning("levels coarsening relaxation", "rules", lambda o: o.rules != ["sequential"],
            "has no meaning for --rules sequential"),
    Meaning(OF_DESCENT, "optimiser epochs", lambda o: o.optimiser == "lbfgs",
            "has no meaning for {optimiser}, whose updates are --epochs and --learning-rate"),
    Meaning(OF_BATCHES, "optimiser epochs", lambda o: o.optimiser in STOCHASTIC,
            "has no meaning for {optimiser}: needs --optimiser sgd or adam"),
    Meaning("momentum", "optimiser epochs", lambda o: o.optimiser == "sgd",
            "has no meaning for {optimiser}: needs --optimiser sgd"),
    Meaning("memory", "hessian line_search", lambda o: o.hessian == "lbfgs",
            "needs --hessian lbfgs, not {hessian}"),
    Meaning("checkpoint_interval", "checkpoint", lambda o: o.checkpoint is not None,
            "needs --checkpoint FILE.npz"),
    Meaning("probabilities", "output", lambda o: o.output is not None,
            "needs --output FILE.csv"),
    Meaning("width", "network", lambda o: o.network == "dense",
            "has no meaning for {network}: needs --network dense"),
    Meaning("channels kernel pool", "network", lambda o: o.network == "convolutional",
            "has no meaning for {network}: needs --network convolutional"),
    Meaning("gamma_opening", "opening network",
            lambda o: (o.opening or DEFAULT_OPENINGS[o.network]) == "trained",
            "needs --opening trained: there are no other weights of an opening"),
    Meaning("seed", "part data", lambda o: not is_whole(o),
            "has no meaning for a file that is classified as a whole"),
    Meaning("data_folder examples test_examples", "part data", lambda o: not is_whole(o),
            "needs --part, or a data set that is no file"),
    Meaning("resume", "checkpoint", lambda o: o.checkpoint is not None,
            "needs --checkpoint FILE.npz"),
    Meaning("hessian", "hessian method",
            lambda o: o.method == "gauss-newton" or o.hessian not in OF_NEWTON,
            "needs --method gauss-newton"),
    Meaning("stabilisation", "problem stabilisation", lambda o: o.problem == "advection",
            "is not for --problem {problem}"),
    Meaning("dimension", "problem stabilisation",
            lambda o: o.problem in ("allen-cahn", "advection"), "is not for --problem {problem}"),
)  # fmt: skip
"""The first option that was given without a meaning is reported, before `RULES`."""

RULES = (
    # the method
    Rule("levels method", lambda o: o.method == "one-shot" and o.levels < 2,
         "one-shot needs at least 2 levels"),
    Rule("cycles method", lambda o: o.method != "one-shot" and o.cycles == "adaptive",
         "adaptive needs --method one-shot"),
    Rule("lagged method cycles",
         lambda o: o.lagged and (o.method != "one-shot" or o.cycles == "adaptive"),
         "needs --method one-shot and a number of --cycles"),
    Rule("tolerance cycles", lambda o: o.cycles == "adaptive" and o.tolerance is not None,
         "needs a number of --cycles, not adaptive"),
    Rule("lagged tolerance", lambda o: o.lagged and o.tolerance is not None,
         "needs a number of cycles, without --tolerance"),
    # the optimiser
    Rule("optimiser method", lambda o: o.method == "one-shot" and o.optimiser in OF_PACKAGES,
         "{optimiser} is for reduced-space methods; one-shot has an optimiser of its own, lbfgs"),
    Rule("optimiser method", lambda o: o.method == "gauss-newton" and o.optimiser in OF_PACKAGES,
         "{optimiser} is for reduced-space methods, not for gauss-newton"),
    Rule("optimiser", lambda o: o.optimiser == "tao" and not is_installed("petsc4py"),
         "tao needs petsc4py (see the installation of PETSc)"),
    Rule("optimiser method", lambda o: o.optimiser in STOCHASTIC and o.method == "mgrit",
         "{optimiser} takes --method sequential or one-shot"),
    Rule("schedule decay", lambda o: o.schedule not in (None, "constant") and o.decay,
         "takes the place of --decay"),
    Rule("step line_search", lambda o: o.step is not None and o.line_search == "wolfe",
         "needs --line-search armijo or none; wolfe finds the first step itself"),
    Rule("momentum optimiser", lambda o: o.optimiser == "sgd" and (o.momentum or 0) >= 1,
         "must be below 1, got {momentum}"),
    Rule("storage method", lambda o: o.method == "gauss-newton" and o.storage == "C",
         "C is not for gauss-newton, which keeps the states of all points"),
    # the checkpoint
    Rule("checkpoint optimiser", lambda o: o.checkpoint and o.optimiser in OF_PACKAGES,
         "needs --optimiser lbfgs, not {optimiser}"),
    Rule("checkpoint start_layers", lambda o: o.checkpoint and o.start_layers,
         "is for one depth, without --start-layers"),
    # the ranks
    Rule("data_ranks", lambda o: o.ranks % o.data_ranks,
         "must divide the number of ranks, {ranks}, got {data_ranks}"),
    Rule("space_ranks states", lambda o: o.space_ranks > 1 and o.states == "numpy",
         "states over several ranks need --states petsc"),
    Rule("space_ranks", lambda o: o.ranks % o.space_ranks,
         "must divide the number of ranks, {ranks}, got {space_ranks}"),
    Rule("space_ranks points", lambda o: o.space_ranks > o.points,
         "{space_ranks} ranks cannot share --points {points}"),
    # heat
    Rule("dimension control", lambda o: o.control == "neumann" and o.dimension != 1,
         "must be 1 with --control neumann"),
    Rule("states", lambda o: o.states == "petsc" and not is_installed("petsc4py"),
         "petsc needs petsc4py (see the installation of PETSc)"),
    # networks
    Rule("opening network",
         lambda o: (o.opening, o.network) in (("replicate", "dense"), ("pad", "convolutional")),
         "{opening} is not for {network} networks"),
    Rule("start_layers layers",
         lambda o: o.start_layers and not is_depth(o.layers, o.start_layers),
         "{layers} is not {start_layers} times a power of two"),
)  # fmt: skip
"""What no program accepts; the first rule that is broken is reported."""


def check_memory(options: argparse.Namespace, names: str, unknowns: int, ranks: int) -> None:
    """Raise ValueError if states of so many unknowns need more memory than the ranks could have.

    That is, each rank all of this machine's. `names` are those of the options that are too large.
    Machines that do not say how much memory they have are taken to have enough.
    """
    try:
        available = ranks * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return
    points = options.steps // (options.coarsening[0] if options.storage == "C" else 1) + 1
    needed = 8 * unknowns * (points + OF_MATRICES)
    if needed > available:
        raise ValueError(
            f"argument {names}: too large: {unknowns} unknowns, {points} times, and their matrices "
            f"take about {needed / 1e9:.3g} GB of memory, and there are {available / 1e9:.3g}"
        )


def has_cycles(options: argparse.Namespace) -> bool:
    """Whether states and adjoints are solved by cycles."""
    return options.method in ("mgrit", "one-shot")


def choose_method(options: argparse.Namespace, ranks: int) -> None:
    """Set the method that was not given, in place, and note in ``chosen`` that it was not.

    One rank in time steps sequentially, unless options of cycles were given.
    """
    options.chosen = "method" not in options.given
    if options.method is None:
        alone = ranks // getattr(options, "data_ranks", 1) < 2
        asked = bool(options.given.intersection(["levels", *OF_CYCLES.split()]))
        options.method = "one-shot" if asked or not alone else "sequential"


def is_whole(options: argparse.Namespace) -> bool:
    """Whether all examples of a file are classified."""
    return options.part is None and Path(options.data).suffix.lower() in (".npz", ".csv")


def check_rules(options: argparse.Namespace, ranks: int) -> None:
    """Raise ValueError if an option has no meaning, or options break one of the `RULES`."""
    known = argparse.Namespace(**vars(options), ranks=ranks)
    for row in MEANINGS:
        if all(name in known for name in row.others.split()) and not row.has_one(known):
            for name in row.options.split():
                if name in options.given:
                    message = row.needed.format_map(vars(known))
                    raise ValueError(f"argument --{name.replace('_', '-')}: {message}")
    for rule in RULES:
        names = rule.options.split()
        if all(name in known for name in names) and rule.refused(known):
            message = rule.message.format_map(vars(known))
            raise ValueError(f"argument --{names[0].replace('_', '-')}: {message}")


def fill_defaults(
    options: argparse.Namespace, choice: str, defaults: Mapping[str, Mapping[str, Any]]
) -> None:
    """Set the options that `choice` has and that were not given, in place.

    `defaults` are by choice and option. `MEANINGS` says which options a choice does not have.
    """
    for name, default in defaults[choice].items():
        if getattr(options, name) is None:
            setattr(options, name, default)
