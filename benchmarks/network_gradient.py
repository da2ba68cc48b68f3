"""Value and gradient of a dense residual network: framework, hand-written loop, PyTorch.

    J(u, theta) = mean cross-entropy(W y_N + mu),  y_0 = tanh(W_in x + b_in),
    y_{n+1} = y_n + dt tanh(K_n y_n + b_n),        width 8, B examples, N layers, T = 5

    python benchmarks/run_all.py network_gradient [--quick]

Compared on one thread, in float64, are

- `pint`: ``ReducedFunctional.value`` and ``gradient`` on a grid of one level, with another control
  in each call, so that state and adjoint are solved each time;
- `loop`: the same sweep written by hand, arrays allocated once, operations in place, states of
  shape (width, B), the activations of all layers kept for the way back, tanh as in
  `problems.resnet`;
- `torch`: PyTorch eager, one parameter a layer as modules have them, ``autograd``.

Beside them, what the activation costs a number: numpy's and PyTorch's exp and tanh, and the tanh of
the loop.

All three give the same gradient to 1e-10, which is checked first. Targets: at B = 5000 pint takes
at most 1.15 times as long as the loop and half as long as PyTorch; at B = 200 1.5 and 0.6.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measuring import (
    NOT_INSTALLED,
    Row,
    installed,
    medians,
    options_of,
    plot_lines,
    print_table,
    save,
)

import pint
from problems import peaks
from problems.resnet import DenseNetwork

WIDTH, FINAL_TIME = 8, 5.0
TARGETS = {5000: (1.15, 0.5), 200: (1.5, 0.6)}
NAMES = (
    "opening_weight",
    "opening_bias",
    "weight",
    "bias",
    "classification_weight",
    "classification_bias",
)
Gradient = tuple[float, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """Data and weights, arrays by field name."""

    x: np.ndarray
    labels: np.ndarray
    layers: int

    @property
    def network(self) -> DenseNetwork:
        return DenseNetwork(features=2, width=WIDTH, classes=peaks.CLASSES)


def make_case(examples: int, layers: int) -> Case:
    return Case(*peaks.generate(examples, seed=0), layers)


class Framework:
    """The gradient by `pint`."""

    def __init__(self, case: Case) -> None:
        grid = pint.TimeGrid.uniform(FINAL_TIME, case.layers)
        problem = case.network.problem(case.x, case.labels, metric="euclidean")
        self.functional = pint.ReducedFunctional(problem, grid)
        controls = self.functional.controls
        first = case.network.random_control(controls, seed=1)
        noise = np.random.default_rng(2).standard_normal(first.vector.shape)
        # Layers that differ, and two controls: a functional that knows its control solves nothing.
        several = [first.vector + 1e-1 * noise, first.vector + 1.1e-1 * noise]
        self.several = [pint.Control(controls, vector) for vector in several]
        self.turns: Iterator[pint.Control] = itertools.cycle(self.several)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return {name: self.several[0][name] for name in NAMES}

    def __call__(self, control: pint.Control | None = None) -> Gradient:
        control = next(self.turns) if control is None else control
        value, gradient = self.functional.value_and_gradient(control)
        return value, {name: gradient[name] for name in NAMES}


class Loop:
    """The gradient by hand, in numpy."""

    def __init__(self, case: Case, weights: dict[str, np.ndarray]) -> None:
        examples, layers = len(case.x), case.layers
        self.x, self.labels = np.ascontiguousarray(case.x.T), np.ascontiguousarray(case.labels.T)
        self.weights, self.dt = weights, FINAL_TIME / layers
        self.states = np.empty((layers + 1, WIDTH, examples))
        self.activations = np.empty((layers, WIDTH, examples))
        self.adjoint = np.empty((WIDTH, examples))
        self.work = np.empty((2, WIDTH, examples))

    def __call__(self) -> Gradient:
        w, dt, y, lam = self.weights, self.dt, self.states, self.adjoint
        K, b, W, slope, work = w["weight"], w["bias"], w["classification_weight"], *self.work
        np.matmul(w["opening_weight"], self.x, out=y[0])
        y[0] += w["opening_bias"][:, None]
        tanh(y[0], out=y[0])
        for n, activation in enumerate(self.activations):
            np.matmul(K[n], y[n], out=work)
            work += b[n, :, None]
            tanh(work, out=activation)
            np.multiply(activation, dt, out=work)
            np.add(y[n], work, out=y[n + 1])

        z = W @ y[-1] + w["classification_bias"][:, None]
        z -= z.max(axis=0)
        log_sum = np.log(np.exp(z).sum(axis=0))
        examples = z.shape[1]
        value = (log_sum.sum() - (self.labels * z).sum()) / examples
        error = (np.exp(z - log_sum) - self.labels) / examples
        gradient = {name: np.empty_like(w[name]) for name in NAMES}
        gradient["classification_weight"][...] = error @ y[-1].T
        gradient["classification_bias"][...] = error.sum(axis=1)

        np.matmul(W.T, error, out=lam)
        transposed = dt * K.swapaxes(1, 2)
        for n in reversed(range(len(K))):
            tanh_derivative(self.activations[n], out=slope)
            slope *= lam
            np.matmul(slope, y[n].T, out=gradient["weight"][n])
            slope.sum(axis=1, out=gradient["bias"][n])
            np.matmul(transposed[n], slope, out=work)
            lam += work
        gradient["weight"] *= dt
        gradient["bias"] *= dt
        tanh_derivative(y[0], out=slope)
        slope *= lam
        gradient["opening_weight"][...] = slope @ self.x.T
        gradient["opening_bias"][...] = slope.sum(axis=1)
        return float(value), gradient


def tanh(x: np.ndarray, out: np.ndarray) -> None:
    """``1 - 2 / (exp(2x) + 1)``, which is faster than numpy's without AVX-512; changes x."""
    x *= 2.0
    with np.errstate(over="ignore"):
        np.exp(x, out=x)
    x += 1.0
    np.divide(-2.0, x, out=x)
    np.add(x, 1.0, out=out)


def tanh_derivative(tanh_x: np.ndarray, out: np.ndarray) -> None:
    np.multiply(tanh_x, tanh_x, out=out)
    np.subtract(1.0, out, out=out)


class Torch:
    """The gradient by PyTorch; examples as rows, as its layers have them."""

    def __init__(self, case: Case, weights: dict[str, np.ndarray]) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.dt = torch, FINAL_TIME / case.layers
        self.x = torch.tensor(case.x)
        self.labels = torch.tensor(case.labels.argmax(axis=1))
        self.parameters = {
            name: [self.parameter(layer) for layer in values]
            if name in ("weight", "bias")
            else self.parameter(values)
            for name, values in weights.items()
        }

    def parameter(self, values: np.ndarray) -> Any:
        return self.torch.tensor(values, requires_grad=True)

    def __call__(self) -> tuple[float, dict[str, Any]]:
        p, linear, tanh = self.parameters, self.torch.nn.functional.linear, self.torch.tanh
        for group in p.values():
            for parameter in group if isinstance(group, list) else [group]:
                parameter.grad = None
        y = tanh(linear(self.x, p["opening_weight"], p["opening_bias"]))
        for K, b in zip(p["weight"], p["bias"], strict=True):
            y = y + self.dt * tanh(linear(y, K, b))
        z = linear(y, p["classification_weight"], p["classification_bias"])
        value = self.torch.nn.functional.cross_entropy(z, self.labels)
        value.backward()
        return value.item(), p

    def gradient(self) -> Gradient:
        value, parameters = self()
        return value, {
            name: np.array([layer.grad.tolist() for layer in group])
            if isinstance(group, list)
            else np.array(group.grad.tolist())
            for name, group in parameters.items()
        }


def check(results: dict[str, Gradient]) -> None:
    """Raise AssertionError unless values and gradients agree to 1e-10."""
    value, gradient = results["pint"]
    norm = max(float(np.abs(part).max()) for part in gradient.values())
    for name, (other, others) in results.items():
        assert abs(other - value) <= 1e-10 * abs(value), f"value of {name}: {other}, {value}"
        for field in NAMES:
            off = float(np.abs(others[field] - gradient[field]).max())
            assert off <= 1e-10 * norm, f"gradient of {name}, {field}: differs by {off / norm:.1e}"


def measure(examples: int, layers: int, repeats: int) -> Row:
    """Return one row of the table."""
    case = make_case(examples, layers)
    framework = Framework(case)
    loop = Loop(case, framework.weights)
    results = {"pint": framework(framework.several[0]), "loop": loop()}
    functions: dict[str, Callable[[], Any]] = {"pint": framework, "loop": loop}
    if installed("torch"):
        torch = Torch(case, framework.weights)
        results["torch"] = torch.gradient()
        functions["torch"] = torch
    check(results)
    seconds = medians(functions, repeats)
    of_loop, of_torch = TARGETS.get(examples, ("", ""))
    row: Row = {"B": examples, "N": layers}
    row |= {f"{name} (ms)": 1e3 * seconds[name] for name in functions}
    row |= {"pint/loop": seconds["pint"] / seconds["loop"], "target": of_loop}
    if "torch" in seconds:
        row |= {"pint/torch": seconds["pint"] / seconds["torch"], "target ": of_torch}
        return row | {"loop/torch": seconds["loop"] / seconds["torch"]}
    return row | {"torch (ms)": NOT_INSTALLED, "pint/torch": "", "target ": of_torch}


def measure_activation(repeats: int) -> list[Row]:
    """Return a row for each function that an activation is made of, on 8 x 5000 numbers."""
    x = np.random.default_rng(0).standard_normal((WIDTH, 5000))
    out, work = np.empty_like(x), np.empty_like(x)

    def by_exp() -> None:
        work[...] = x
        tanh(work, out)

    functions: dict[str, Callable[[], Any]] = {
        "exp, numpy": lambda: np.exp(x, out=out),
        "tanh, numpy": lambda: np.tanh(x, out=out),
        "tanh by exp": by_exp,
    }
    if installed("torch"):
        import torch

        torch.set_num_threads(1)
        y = torch.tensor(x)
        functions |= {"exp, torch": lambda: torch.exp(y), "tanh, torch": lambda: torch.tanh(y)}
    seconds = medians(functions, repeats)
    return [{"function": name, "ns a number": 1e9 * seconds[name] / x.size} for name in functions]


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it with a picture; return its rows."""
    options = options_of(__doc__, arguments, repeats=7)
    sizes = (
        [(50, 8), (50, 16)]
        if options.quick
        else list(itertools.product((200, 5000), (32, 256, 1024)))
    )
    rows = []
    for examples, layers in sizes:
        # Small cases take milliseconds: more repeats cost nothing.
        repeats = options.repeats * (1 if layers * examples > 10**5 else 3)
        rows.append(measure(examples, layers, options.repeats if options.quick else repeats))
    print_table("Value and gradient of a residual network (milliseconds, medians)", rows)
    save("network_gradient", rows, options.output)
    activation = measure_activation(30 * options.repeats)
    print_table("What the activation costs (medians)", activation)
    save("network_gradient_activation", activation, options.output)
    lines = {
        f"{name}, B = {examples}": {
            row["N"]: row[f"{name} (ms)"] / 1e3
            for row in rows
            if row["B"] == examples and row[f"{name} (ms)"] != NOT_INSTALLED
        }
        for examples in dict.fromkeys(size[0] for size in sizes)
        for name in ("pint", "loop", "torch")
    }
    plot_lines(
        options.output / "network_gradient.png", "Value and gradient", "layers N",
        {name: points for name, points in lines.items() if points},
    )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
