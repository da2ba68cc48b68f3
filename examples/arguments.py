"""What the example programs share: argument types, options and their rules, errors in one line."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import problems  # noqa: F401  (first: it says so where `pint` is the units library)

# isort: split
import pint
from pint.comm import agreeing, all_arrive, ending_all_ranks, is_alike, private
from pint.report.files import check_writable
from pint.steppers.coarsening import CoarseStep, coarse_step

INTERRUPTED = 130
"""Exit code of a run that a signal ended after it was saved; what a shell has for Ctrl-C."""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to the help of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line, from rank 0, and ends every rank with code 2."""

    comm: Any = pint.SerialComm()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, formatter_class=HelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        text = f"{self.prog}: error: {' '.join(message.split())}"
        if self.comm.rank == 0:
            print(text, file=sys.stderr, flush=True)
        if not all_arrive(self.comm):  # the mistake of some ranks alone
            print(text, file=sys.stderr, flush=True)
            self.comm.Abort(2)
        raise SystemExit(2)

    def print_help(self, file: Any = None) -> None:
        if self.comm.rank == 0:
            super().print_help(file)


def integer(least: int) -> Any:
    """Return an argument type: an integer >= `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text!r}")
        return value

    return parse


def number(positive: bool = False) -> Any:
    """Return an argument type: a finite number > 0, or >= 0."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and (value > 0 or (value == 0 and not positive))):
            sign = ">" if positive else ">="
            raise argparse.ArgumentTypeError(f"must be a finite number {sign} 0, got {text!r}")
        return value

    return parse


def real(text: str) -> float:
    """Argument type: a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text!r}")
    return value


def assignment(text: str) -> tuple[str, float]:
    """Argument type: ``name=value`` with a finite value."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"must be name=value, got {text!r}")
    return name, real(value)


def integers(text: str) -> list[int]:
    """Argument type: comma-separated integers >= 2."""
    return [integer(2)(part) for part in text.split(",")]


def cycles(text: str) -> int | str:
    """Argument type: an integer >= 1, or ``adaptive``."""
    try:
        return text if text == "adaptive" else integer(1)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or adaptive") from None


def words(text: str) -> list[str]:
    """Argument type: comma-separated relaxations F, FCF, FCFCF, ..."""
    for word in text.split(","):
        if word != "F" + "CF" * word.count("C"):
            raise argparse.ArgumentTypeError(f"must be F, FCF, FCFCF, ..., got {word!r}")
    return text.split(",")


def coarse(text: str) -> CoarseStep | None:
    """Argument type: a step for coarse levels."""
    try:
        return coarse_step("", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).strip()) from None


def correction(text: str) -> int | str:
    """Argument type: ``full``, or a rank >= 1."""
    try:
        return text if text == "full" else integer(1)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or full") from None


def cycle_options(option: Callable[..., Any]) -> None:
    """Add, by the function `option`, what `make_grid` reads and the relaxation."""
    option("--levels", type=integer(1), default=2, metavar="L", help="levels of MGRIT")
    option("--coarsening", type=integers, default="4", metavar="m[,m...]", help="by level")
    option("--relaxation", type=words, default="FCF", metavar="F|FCF|FCFCF[,...]", help="by level")


def solver_options(
    parser: Parser, method: str, more: Sequence[str] = (), note: str = ""
) -> Callable[..., Any]:
    """Add the options of the time-parallel solver; returns the function that adds more to them.

    `more` are methods besides the usual ones, which `note` explains.
    """
    option = parser.add_argument_group("time-parallel solver").add_argument
    option("--method", choices=["sequential", "mgrit", "one-shot", *more], default=method,
           help=f"sequential and mgrit are reduced space{note}")  # fmt: skip
    cycle_options(option)
    option("--cycles", type=cycles, metavar="k|adaptive",
           help="cycles a solve (one-shot: 2), or the most of them (mgrit: 30); adaptive, of "
           "one-shot: their number from error estimates")  # fmt: skip
    option("--lagged", action=argparse.BooleanOptionalAction,
           help="one-shot: each cycle begins with the coarse correction of the last update, half "
           "the steps (default: with --cycles 1)")  # fmt: skip
    option("--storage", choices=["all", "C"], default="all",
           help="time points whose states are stored: all, or the C-points alone, every m-th one "
           "(--coarsening); the others are then computed again where they are needed")  # fmt: skip
    option("--unconverged", choices=["warn", "error", "ignore"], default="warn",
           help="what follows where MGRIT does not meet its tolerance: one warning, an error "
           "(exit code 1), or nothing")  # fmt: skip
    return option


def optimiser_options(parser: Parser, gradient_tolerance: float, iterations: int) -> None:
    """Add the options of the optimiser, which `minimise` reads."""
    option = parser.add_argument_group("optimisation").add_argument
    option("--optimiser", choices=["lbfgs", "scipy", "tao"], default="lbfgs",
           help="pint's own, scipy's L-BFGS-B or PETSc's blmvm")  # fmt: skip
    option("--gradient-tolerance", type=number(), default=gradient_tolerance,
           help="norm of the (projected) gradient to stop at")  # fmt: skip
    option("--iterations", type=integer(0), default=iterations, help="control updates")
    limit_options(option)


def limit_options(option: Callable[..., Any]) -> None:
    """Add, by the function `option`, the other ends of a run, which `limits_of` reads."""
    option("--relative-gradient-tolerance", type=number(), default=0.0, metavar="R",
           help="stop at R times the first gradient norm, too")  # fmt: skip
    option("--time-limit", type=number(), default=math.inf, metavar="S",
           help="wall time of the optimisation, seconds")  # fmt: skip
    option("--evaluations", type=integer(1), metavar="E",
           help="objectives to evaluate at most, with those of rejected steps")  # fmt: skip


def checkpoint_options(parser: Parser) -> None:
    """Add the options of the checkpoint, which `check_checkpoint` and `make_checkpoint` read."""
    option = parser.add_argument_group("checkpoint").add_argument
    option("--checkpoint", metavar="FILE.npz",
           help="where the run is saved, also at SIGTERM and SIGINT, which then end it after the "
           f"current update, exit code {INTERRUPTED}")  # fmt: skip
    option("--checkpoint-interval", type=number(), default=60.0, metavar="S",
           help="least seconds between two checkpoints; 0: one after every update")  # fmt: skip
    option("--resume", action="store_true", help="continue the run in --checkpoint")


def output_options(parser: Parser, plot: str) -> None:
    """Add the options of the output; `plot` says what the picture shows."""
    option = parser.add_argument_group("output").add_argument
    option("--plot", metavar="FILE.png", help=plot)
    option("--json", metavar="FILE.json", help="the numbers of the result")
    option("--history", metavar="FILE.csv", help="one row an iterate, written at the end")
    option("--progress", action="store_true", help="a bar, or lines in a log file")


# Which options fit each other


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


OF_PACKAGES = ("scipy", "tao")
STOCHASTIC = ("sgd", "adam")
OF_NEWTON = ("gauss-newton", "exact")

RULES = (
    # the method
    Rule("levels method", lambda o: o.method == "one-shot" and o.levels < 2,
         "one-shot needs at least 2 levels"),
    Rule("coarse method",
         lambda o: o.coarse is not None and o.method in ("sequential", "gauss-newton"),
         "needs coarse levels: take --method mgrit or one-shot, not {method}"),
    Rule("coarse levels", lambda o: o.coarse is not None and o.levels < 2,
         "needs coarse levels: take --levels 2 or more, not {levels}"),
    Rule("cycles method", lambda o: o.method != "one-shot" and o.cycles == "adaptive",
         "adaptive needs --method one-shot"),
    Rule("lagged method cycles",
         lambda o: o.lagged and (o.method != "one-shot" or o.cycles == "adaptive"),
         "needs --method one-shot and a number of --cycles"),
    Rule("tolerance cycles", lambda o: o.cycles == "adaptive" and o.tolerance is not None,
         "needs a number of --cycles, not adaptive"),
    Rule("lagged tolerance", lambda o: o.lagged and o.tolerance is not None,
         "needs a number of cycles, without --tolerance"),
    Rule("correction method levels",
         lambda o: o.correction and (o.method in ("sequential", "gauss-newton") or o.levels < 2),
         "is for coarse steps: needs --method mgrit or one-shot, and 2 --levels or more"),
    # the optimiser
    Rule("optimiser method", lambda o: o.method == "one-shot" and o.optimiser in OF_PACKAGES,
         "{optimiser} is for reduced-space methods; one-shot has an optimiser of its own, lbfgs"),
    Rule("optimiser method", lambda o: o.method == "gauss-newton" and o.optimiser in OF_PACKAGES,
         "{optimiser} is for reduced-space methods, not for gauss-newton"),
    Rule("hessian method", lambda o: o.method != "gauss-newton" and o.hessian in OF_NEWTON,
         "needs --method gauss-newton"),
    Rule("optimiser", lambda o: o.optimiser == "tao" and not is_installed("petsc4py"),
         "tao needs petsc4py (see the installation of PETSc)"),
    Rule("optimiser method cycles",
         lambda o: o.optimiser in STOCHASTIC and (o.method == "mgrit" or o.cycles == "adaptive"),
         "{optimiser} takes --method sequential, or one-shot with a number of --cycles"),
    Rule("step line_search", lambda o: o.step is not None and o.line_search == "wolfe",
         "needs --line-search armijo or none; wolfe finds the first step itself"),
    Rule("momentum optimiser", lambda o: o.optimiser == "sgd" and (o.momentum or 0) >= 1,
         "must be below 1, got {momentum}"),
    Rule("storage method", lambda o: o.method == "gauss-newton" and o.storage == "C",
         "C is not for gauss-newton, which keeps the states of all points"),
    # the checkpoint
    Rule("resume checkpoint", lambda o: o.resume and o.checkpoint is None,
         "needs --checkpoint FILE.npz"),
    Rule("checkpoint optimiser", lambda o: o.checkpoint and o.optimiser in OF_PACKAGES,
         "needs --optimiser lbfgs, not {optimiser}"),
    Rule("checkpoint optimiser", lambda o: o.checkpoint and o.optimiser in STOCHASTIC,
         "needs --optimiser lbfgs"),
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
    # data of a trained network
    *(Rule(f"{name} part data", lambda o, name=name: getattr(o, name) is not None and is_whole(o),
           "needs --part, or a data set that is no file")
      for name in ("data_folder", "examples", "test_examples")),
)  # fmt: skip
"""What no program accepts; the first rule that is broken is reported."""


def is_whole(options: argparse.Namespace) -> bool:
    """Whether all examples of a file are classified."""
    return options.part is None and Path(options.data).suffix.lower() in (".npz", ".csv")


def check_rules(options: argparse.Namespace, ranks: int) -> None:
    """Raise ValueError if options break one of the `RULES`."""
    known = argparse.Namespace(**vars(options), ranks=ranks)
    for rule in RULES:
        names = rule.options.split()
        if all(name in known for name in names) and rule.refused(known):
            message = rule.message.format_map(vars(known))
            raise ValueError(f"argument --{names[0].replace('_', '-')}: {message}")


def fill_defaults(
    options: argparse.Namespace, choice: str, defaults: Mapping[str, Mapping[str, Any]]
) -> None:
    """Set the options that `choice` has and that were not given, in place.

    `defaults` are by choice and option. ValueError if an option was given that only other choices
    have.
    """
    for name in sorted({name for others in defaults.values() for name in others}):
        if name in defaults[choice]:
            if getattr(options, name) is None:
                setattr(options, name, defaults[choice][name])
        elif getattr(options, name) is not None:
            option = name.replace("_", "-")
            raise ValueError(f"argument --{option}: has no meaning for {choice}")


# From options to objects


def check_checkpoint(options: argparse.Namespace) -> None:
    """Raise ValueError if --resume finds no file, or a file exists without --resume."""
    if options.checkpoint is None:
        return
    check_outputs(options, "checkpoint")
    exists = Path(options.checkpoint).exists()
    if options.resume and not exists:
        raise ValueError(f"argument --resume: there is no checkpoint {options.checkpoint!r}")
    if exists and not options.resume:
        raise ValueError(
            f"argument --checkpoint: {options.checkpoint!r} exists: continue it by --resume, or "
            "remove it"
        )


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


def word_of(status: pint.Status) -> str:
    """Return the name of a status as programs report it."""
    return status.name.lower().replace("_", " ")


def summary_of(result: pint.Result, control: Any) -> dict[str, Any]:
    """Return the numbers of ``--json``; `control` as it should appear there."""
    last = result.history[-1]
    return {
        "objective": result.objective,
        "gradient_norm": result.gradient_norm,
        "iterations": result.iterations,
        "status": word_of(result.status),
        "control": control,
        "state_steps": last.state_steps,
        "adjoint_steps": last.adjoint_steps,
        "seconds": last.seconds,
        "peak_memory": list(result.peak_memory),
        "solves": result.solves,
        "converged_solves": result.converged_solves,
    }


def print_result(result: pint.Result) -> None:
    """Print what was reached, evaluated with exact state and adjoint."""
    last = result.history[-1]
    print(f"{'status':20s}{result.message}")
    print(f"{'objective':20s}{result.objective:.14g} (state solved exactly)")
    print(f"{'gradient norm':20s}{result.gradient_norm:.3e}")
    if result.constrained is not None:
        print(f"{'violation':20s}{max(result.constrained.violations):.3e}")
    print(f"{'updates':20s}{result.iterations} in {last.seconds:.2f} s")
    print(f"{'steps evaluated':20s}{last.state_steps} state, {last.adjoint_steps} adjoint")
    print_unconverged(result)
    print_peak_memory(result)


def print_unconverged(result: pint.Result) -> None:
    """Print how many solves to a tolerance have met it, unless all have."""
    if result.converged_solves < result.solves:
        print(f"{'converged solves':20s}{result.converged_solves} of {result.solves}")


def print_peak_memory(result: pint.Result) -> None:
    """Print the largest resident memory of the ranks' processes, interpreter and all."""
    peaks = result.peak_memory
    largest = f"{max(peaks) / 1e6:.0f} MB" if min(peaks) > 0 else "unknown"
    ranks = f" at most on each of {len(peaks)} ranks" if len(peaks) > 1 else ""
    print(f"{'peak memory':20s}{largest}{ranks}")


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


def check_outputs(options: argparse.Namespace, *names: str) -> None:
    """Raise ValueError, naming the option, if a result could not be written later."""
    for name in names:
        path = getattr(options, name)
        if path is None:
            continue
        try:
            is_folder = Path(path).is_dir()
            check_writable(path)
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(f"argument --{name}: cannot write {path!r}: {reason}") from None
        if is_folder:
            raise ValueError(f"argument --{name}: {path!r} is a folder")
    if options.plot and Path(options.plot).suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"argument --plot: {options.plot!r} must end in .png, .pdf or .svg")
    if options.plot and not is_installed("matplotlib"):
        raise ValueError("argument --plot: needs matplotlib (pip install 'pint-control[examples]')")


@contextlib.contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Print pint's own warnings without the place in the code, and each of them."""
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, pint.ConvergenceWarning):
            print(f"warning: {message}", file=sys.stderr, flush=True)
        else:
            usual(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", pint.ConvergenceWarning)
        warnings.showwarning = show
        yield


def run(
    arguments: list[str] | None,
    parser: Callable[[Any], Parser],
    set_up: Callable[[argparse.Namespace, Any], Any],
    work: Callable[[argparse.Namespace, Any], dict[str, Any]],
    sizes: str = "--steps",
) -> dict[str, Any]:
    """Run a program and return its numbers.

    Options that break a rule, and a ValueError of `set_up`, are wrong arguments: one line, exit
    code 2; a MemoryError there is laid to the options `sizes`. A checkpoint that `work` cannot
    begin with is a wrong argument, too. A numerical failure of `work`, or a file that cannot be
    written, is one line, exit code 1. A run that a signal interrupted ends with its files and its
    summary, exit code 130.
    """
    try:
        comm = pint.world()
    except RuntimeError as error:
        parser(pint.SerialComm()).error(str(error))
    command = parser(comm)
    options = command.parse_args(arguments)
    wrong = failure = None
    with ending_all_ranks(comm):
        try:
            with agreeing(private(comm, "comm"), command.prog) as ranks:
                ranks.same = vars(options)
                check_rules(options, comm.size)
            setup = set_up(options, comm)
        except (ValueError, MemoryError) as error:
            if not (is_alike(error) or all_arrive(comm)):
                raise  # the mistake of this rank ends all ranks
            # numpy raises a ValueError where an array has more bytes than there are addresses.
            is_size = isinstance(error, MemoryError) or "array is too big" in str(error)
            wrong = f"argument {sizes}: too large: {error}" if is_size else str(error)
    if wrong is not None:
        command.error(wrong)
    # Numbers that are not finite are reported once, not at each operation.
    quiet = np.errstate(over="ignore", invalid="ignore")
    with ending_all_ranks(comm), quiet, warnings_in_one_line():
        try:
            numbers = work(options, setup)
        except pint.NumericalError as error:
            if not (comm.size == 1 or is_alike(error)):
                raise
            failure = str(error)
        except pint.CheckpointError as error:
            wrong = f"argument --checkpoint: {error}"
        except OSError as error:  # for example a full disk
            failure = f"cannot write a result: {error}"
            if not is_alike(error):  # on one rank, and the others may wait for its messages
                print(f"{command.prog}: {failure}", file=sys.stderr, flush=True)
                if comm.size > 1:
                    comm.Abort(1)
                raise SystemExit(1) from None
    if wrong is not None:
        command.error(wrong)
    if failure is None and numbers.get("status") != "interrupted":
        return numbers
    if failure is not None and comm.rank == 0:
        print(f"{command.prog}: {failure}", file=sys.stderr, flush=True)
    comm.Barrier()
    raise SystemExit(INTERRUPTED if failure is None else 1)
