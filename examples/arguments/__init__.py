"""What the example programs share: argument types, options and their rules, errors in one line."""

from arguments.files import check_checkpoint, check_outputs, make_checkpoint
from arguments.groups import (
    checkpoint_options,
    cycle_options,
    limit_options,
    optimiser_options,
    output_options,
    solver_options,
)
from arguments.parser import (
    Parser,
    assignment,
    coarse,
    correction,
    cycles,
    integer,
    integers,
    number,
    real,
    words,
)
from arguments.results import (
    print_peak_memory,
    print_result,
    print_unconverged,
    summary_of,
    word_of,
)
from arguments.rules import check_rules, fill_defaults, is_installed, is_whole
from arguments.running import INTERRUPTED, run
from arguments.solving import (
    limits_of,
    make_functional,
    make_grid,
    make_method,
    minimise,
    most_cycles,
)

__all__ = [
    "INTERRUPTED",
    "Parser",
    "assignment",
    "check_checkpoint",
    "check_outputs",
    "check_rules",
    "checkpoint_options",
    "coarse",
    "correction",
    "cycle_options",
    "cycles",
    "fill_defaults",
    "integer",
    "integers",
    "is_installed",
    "is_whole",
    "limit_options",
    "limits_of",
    "make_checkpoint",
    "make_functional",
    "make_grid",
    "make_method",
    "minimise",
    "most_cycles",
    "number",
    "optimiser_options",
    "output_options",
    "print_peak_memory",
    "print_result",
    "print_unconverged",
    "real",
    "run",
    "solver_options",
    "summary_of",
    "word_of",
    "words",
]
