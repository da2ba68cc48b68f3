"""Problems with constraints, free final time and measured data, by several methods.

python benchmarks/constraints.py
"""

from __future__ import annotations

from typing import Any

import pint
from problems.ode_constrained import CONSTRAINED

METHODS: dict[str, tuple[Any, int]] = {
    "Gauss-Newton": (pint.GaussNewton(), 1),
    "L-BFGS": (pint.ReducedSpace(iterations=2000), 1),
    "adaptive one-shot": (pint.Adaptive(iterations=2000), 2),
}
"""Methods and the levels of their grids."""


def main() -> None:
    """Print the table."""
    print("| problem | method | outer | updates | result | violation |")
    print("|---|---|---|---|---|---|")
    for name, kind in CONSTRAINED.items():
        definition = kind()
        for words, (method, levels) in METHODS.items():
            grid = pint.TimeGrid.uniform(
                definition.T, definition.steps, coarsening=4, levels=levels
            )
            functional = pint.ReducedFunctional(definition.problem(), grid)
            constraints = definition.constraints()
            how = pint.AugmentedLagrangian(method, constraints) if constraints else method
            result = pint.minimize(functional, definition.start(functional.controls), how)
            outer, worst = "", ""
            if result.constrained is not None:
                outer = str(len(result.constrained.outer))
                worst = f"{max(result.constrained.violations):.1e}"
            found = f"J = {result.objective:.8f}"
            if not functional.controls.time_fields:
                errors = pint.standard_errors(result)
                found = ", ".join(
                    f"{field} = {result.control[field][0]:.4f} ± {errors[field][0]:.4f}"
                    for field in errors
                )
            print(f"| {name} | {words} | {outer} | {result.iterations} | {found} | {worst} |")


if __name__ == "__main__":
    main()
