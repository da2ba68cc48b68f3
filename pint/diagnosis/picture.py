"""A picture of a diagnosis; needs matplotlib."""

from __future__ import annotations

import importlib
from typing import Any

from pint.diagnosis.histories import Residuals
from pint.diagnosis.report import Diagnosis

LIGHT = 0.4
"""Opacity of what is not recommended."""


def picture(diagnosis: Diagnosis, figure: Any = None) -> Any:
    """Return a figure: two-level factors, residuals by cycle, steps of the set-ups tried.

    It is saved by ``picture(diagnosis).savefig("diagnosis.png")``.

    Parameters
    ----------
    diagnosis : Diagnosis
        What is drawn.
    figure : matplotlib.figure.Figure, optional
        Where it is drawn; with ``plt.figure(...)``, ``plt.show()`` shows it. A new one by default.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    if figure is None:
        figure = importlib.import_module("matplotlib.figure").Figure((12, 4), layout="constrained")
    factors, residuals, trials = figure.subplots(1, 3)
    _draw_factors(factors, diagnosis)
    own = diagnosis.trials[0]
    _draw_residuals(residuals, "state", "C0", diagnosis.state, own.state)
    _draw_residuals(residuals, "adjoint", "C1", diagnosis.adjoint, own.adjoint)
    residuals.set(title=str(diagnosis.setup), xlabel="cycle", ylabel="residual norm")
    residuals.set_yscale("log")
    residuals.legend()
    _draw_trials(trials, diagnosis)
    return figure


def _draw_factors(axes: Any, diagnosis: Diagnosis) -> None:
    names = list(dict.fromkeys(_name(one) for one in diagnosis.factors))
    for shift, equation in ((-0.2, "state"), (0.2, "adjoint")):
        some = [one for one in diagnosis.factors if one.equation == equation]
        places = [names.index(_name(one)) + shift for one in some]
        axes.bar(places, [one.value for one in some], 0.4, label=equation)
        known = [(x, one.theory) for x, one in zip(places, some, strict=True) if one.theory]
        if known:
            label = "theory" if equation == "state" else None
            axes.plot(*zip(*known, strict=True), "k_", markersize=12, label=label)
    if max(one.value for one in diagnosis.factors) > 0.5:
        axes.axhline(1.0, color="0.7", linewidth=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set(title="two-level factors", ylabel="error after a cycle / before")
    axes.legend()


def _name(factor: Any) -> str:
    return f"{factor.level}-{factor.level + 1}\n{factor.relaxation}"


def _draw_residuals(
    axes: Any, equation: str, color: str, predicted: Residuals, tried: Residuals
) -> None:
    cycles = range(1, len(predicted.norms) + 1)
    axes.plot(cycles, predicted.norms, color=color, label=f"{equation}, predicted")
    axes.plot(range(1, len(tried.norms) + 1), tried.norms, "o", color=color, label="tried")
    axes.axhline(predicted.bound, color=color, linestyle=":", linewidth=0.8)


def _draw_trials(axes: Any, diagnosis: Diagnosis) -> None:
    rows = [trial for trial in diagnosis.trials if trial.steps is not None]
    sizes = [(trial.steps or 0.0) / diagnosis.steps for trial in rows]
    best = diagnosis.recommendation.setup
    colors = [("C2", 1.0 if trial.setup == best else LIGHT) for trial in rows]
    axes.barh([str(trial.setup) for trial in rows], sizes, color=colors)
    axes.axvline(2.0, color="k", linewidth=0.8, label="sequential")
    axes.invert_yaxis()
    axes.set_title("steps of state and adjoint / N", loc="right")
    axes.legend()
