"""The picture of a training run: the classified plane or the confusion matrix, the convergence."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from pint.report.files import write_atomically
from problems.classification import confusion

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import MaxNLocator

Classify = Callable[[np.ndarray], np.ndarray]
"""Gives the classes, shape (B,), of examples, shape (B, ...)."""


def draw(
    path: str | Path,
    rows: Sequence[dict[str, Any]],
    training: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    *,
    found: Classify,
    true: Classify | None,
    names: Sequence[str],
    title: str,
) -> None:
    """Write the picture to `path`, replacing it in one step.

    Parameters
    ----------
    path : str or Path
        Its ending chooses the format: .png, .pdf or .svg.
    rows : sequence of dict
        The history.
    training, validation : (ndarray, ndarray), shapes (B, ...) and (B, classes)
        Examples and labels. A plane is drawn if there are two features, else the confusion matrix
        of the validation examples.
    found, true : callable
        The network's classes, and the true ones; without those the examples are drawn.
    names : sequence of str
        Of the classes.
    title : str
        Names the run.
    """
    x, labels = training
    planes = x.shape[1:] == (2,)
    figure, axes = pyplot.subplots(
        ncols=3 if planes else 2,
        figsize=(15 if planes else 11, 4.6),
        layout="constrained",
        squeeze=False,
    )
    if planes:
        draw_planes(axes[0], x, labels, found, true)
    else:
        given = validation[1].argmax(axis=1)
        draw_confusion(axes[0][0], confusion(given, found(validation[0]), len(names)), names)
    draw_convergence(axes[0][-1], rows)
    figure.suptitle(title, fontsize="medium")
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix[1:], dpi=120)
    pyplot.close(figure)
    write_atomically(path, lambda file: file.write(picture.getvalue()))


def draw_confusion(axis: Any, counts: np.ndarray, names: Sequence[str]) -> None:
    """Draw a confusion matrix: percentages of each row, numbers of examples written in."""
    share = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(counts):
        color = "white" if share[row, column] > 50 else "black"
        axis.text(column, row, counts[row, column], ha="center", va="center", color=color, size=7)
    ticks = range(len(names))
    axis.set(xticks=ticks, yticks=ticks, xlabel="class found", ylabel="class given")
    axis.set_xticklabels(names, rotation=90 if max(map(len, names)) > 2 else 0)
    axis.set_yticklabels(names)
    axis.set(title="validation examples")


def draw_planes(
    axes: Any, x: np.ndarray, labels: np.ndarray, found: Classify, true: Classify | None
) -> None:
    """Draw the network's classes and the true ones over the range of the two features."""
    first, second = (
        np.linspace(low, high, 201) for low, high in zip(x.min(0), x.max(0), strict=True)
    )
    points = np.stack([grid.ravel() for grid in np.meshgrid(first, second)], axis=1)
    look: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": labels.shape[1] - 1}
    axes[0].pcolormesh(first, second, found(points).reshape(201, 201), **look)
    axes[0].set(title="classes found by the network")
    if true is not None:
        axes[1].pcolormesh(first, second, true(points).reshape(201, 201), **look)
        axes[1].set(title="true level sets")
    else:
        axes[1].scatter(*x.T, c=labels.argmax(axis=1), s=6, **look)
        axes[1].set(title="training examples")
    for plane in axes[:2]:
        plane.set(xlabel="feature 1", ylabel="feature 2")


def draw_convergence(axis: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Draw objective, gradient norm and residuals, and the accuracies on a second axis."""
    iterations = [row["iteration"] for row in rows]
    for name in ("objective", "gradient_norm", "state_residual", "adjoint_residual"):
        values = np.array([row[name] for row in rows], dtype=float)
        if (values > 0).any():  # residuals of sequential sweeps are zero
            label = name.replace("_", " ")
            if name.endswith("residual"):
                label += ", last cycle"  # the error that the solves of an update have left
            axis.semilogy(iterations, np.where(values > 0, values, np.nan), label=label)
    axis.set(xlabel="iteration", title="convergence")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    percent = axis.twinx()
    for name, style in (("train_accuracy", "k-"), ("validation_accuracy", "k--")):
        accuracies = [row[name] for row in rows]
        # Rows between two evaluations repeat the last one.
        new = [i for i, value in enumerate(accuracies) if i == 0 or value != accuracies[i - 1]]
        at, seen = [iterations[i] for i in new], [accuracies[i] for i in new]
        percent.plot(at, seen, style, lw=0.8, label=name.replace("_", " "))
    percent.set(ylabel="accuracy (%)", ylim=(0, 100))
    lines = [*axis.get_lines(), *percent.get_lines()]
    axis.legend(
        lines,
        [line.get_label() for line in lines],
        fontsize="small",
        ncols=3,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
    )
