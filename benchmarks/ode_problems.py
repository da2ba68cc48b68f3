"""Optima of the ODE problems by every method, as the table of ``docs/ode_problems.md``.

Default parameters and numbers of steps, gradient tolerance 1e-8; MGRIT with two levels,
coarsening factor 4 and FCF-relaxation, one-shot with 2 cycles.

    python benchmarks/ode_problems.py
"""

import contextlib
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from ode_control import main as control

from problems.ode import PROBLEMS

METHODS = {
    "sequential": "--method sequential",
    "mgrit": "--method mgrit",
    "one-shot": "--method one-shot",
    "scipy": "--method sequential --optimiser scipy",
}


def main():
    print("| problem | scheme | method | J | gradient norm | updates | state steps |")
    print("|---|---|---|---|---|---|---|")
    for name, kind in PROBLEMS.items():
        for scheme in kind.schemes:
            for method, options in METHODS.items():
                arguments = f"--problem {name} --scheme {scheme} --iterations 2000 {options}"
                with contextlib.redirect_stdout(io.StringIO()):
                    result = control(arguments.split())
                ending = "" if result["status"] == "converged" else f" ({result['status']})"
                print(
                    f"| {name} | {scheme} | {method} | {result['objective']:.13g} "
                    f"| {result['gradient_norm']:.1e}{ending} | {result['iterations']} "
                    f"| {result['state_steps']} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
