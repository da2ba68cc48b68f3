"""Checkpoints that are well-formed and wrong inside, each with what its refusal must say."""

import json

import numpy as np

from pint.optimise.saved_run import sealed
from pint.report.files import write_atomically


def altered(path, change, seal=True):
    """Rewrite a checkpoint whose arrays `change` has altered in place; `seal` hides the change."""
    with np.load(path) as archive:
        arrays = dict(archive)
    if seal:
        del arrays["digests"]
    change(arrays)
    write_atomically(path, lambda file: np.savez(file, **(sealed(arrays) if seal else arrays)))


def without(name):
    return lambda arrays: arrays.pop(name)


def to(name, value):
    return lambda arrays: arrays.update({name: value(arrays[name])})


def number(value, *names):
    """Set one number of the run."""

    def change(text):
        saved = part = json.loads(str(text))
        for name in names[:-1]:
            part = part[name]
        if value is Ellipsis:
            del part[names[-1]]
        else:
            part[names[-1]] = value
        return json.dumps(saved)

    return to("run", change)


def cell(name, value, row=-1):
    """Set one number of the history."""

    def change(arrays):
        at = list(arrays["history_columns"]).index(name)
        arrays["history"] = arrays["history"].copy()
        arrays["history"][row, at] = value

    return change


def column(name, new):
    return to("history_columns", lambda names: np.where(names == name, new, names))


def entry(name, value):
    """Set the first number of an array."""

    def change(array):
        array = array.copy()
        array.flat[0] = value
        return array

    return to(name, change)


NAN, INF = float("nan"), float("inf")
DEEP = "[" * 10_000 + "]" * 10_000
NUMBERS = ("numbers",)
STRATEGY, POINT = ("numbers", "strategy"), ("numbers", "point")

ANY_RUN = {
    "no format": (without("format"), "no checkpoint of this version"),
    "another format": (to("format", lambda _: "pint checkpoint 99"), "no checkpoint of this"),
    "a long format": (to("format", lambda _: "f" * 10_000), "no checkpoint of this"),
    **{
        f"no {name}": (without(name), f"`{name}`")
        for name in (
            "times", "bounds", "run", "problem", "history", "history_columns", "control.u", "s.u",
            "products", "trajectory", "state", "adjoint",
        )
    },
    "an unknown entry": (lambda arrays: arrays.update(more=np.ones(3)), "unknown entry `more`"),
    "times of text": (to("times", lambda t: t.astype(str)), "`times`"),
    "a million times": (to("times", lambda _: np.arange(1e6)), "`times`"),
    "bounds NaN": (to("bounds", lambda values: values + NAN), "`bounds`"),
    "run cut": (to("run", lambda text: str(text)[:-40]), "`run` is no JSON"),
    "run a list": (to("run", lambda _: "[]"), "`run` must have"),
    "run a number": (to("run", lambda _: 3.0), "`run` must be a text"),
    "run of two texts": (to("run", lambda text: np.array([text, text])), "`run` must be a text"),
    "run nested": (to("run", lambda _: DEEP), "`run` is no JSON: it is nested"),
    "problem nested": (to("problem", lambda _: DEEP), "`problem` is no JSON: it is nested"),
    "problem of text": (to("problem", lambda _: '{"stepper": "one"}'), "`problem` must be"),
    "run with a number of 5000 digits": (to("run", lambda _: "9" * 5000), "`run`"),
    **{
        f"step {value}": (number(value, *NUMBERS, "step"), "`step` must be positive")
        for value in (NAN, -1.0, 0.0, INF, 10**400, "1.0", None, True, [1.0])
    },
    "no step": (number(..., *NUMBERS, "step"), "`run` must have"),
    "another number": (number(1.0, *NUMBERS, "stride"), "`run` must have"),
    **{
        f"rejected {value}": (number(value, *NUMBERS, "rejected"), "`rejected` must be an integer")
        for value in (-1, 10**18, 0.5, "no")
    },
    **{
        f"scaling {value}": (number(value, "scaling"), "`scaling` must be positive")
        for value in (NAN, 0.0, -2.0)
    },
    "correction NaN": (number(NAN, *POINT, "correction"), "`point.correction` must be a finite"),
    "no correction": (number(..., *POINT, "correction"), "`point` must have"),
    "errors of one": (number([0.0], *POINT, "errors"), "`point.errors` must have 2 parts"),
    "errors negative": (number([-1.0, 0.0], *POINT, "errors"), "`point.errors` must be"),
    "convergence of text": (number(["yes", None], *POINT, "convergence"), "`point.convergence`"),
    "residuals of text": (
        number([{"residuals": "12", "converged": True, "bound": 0.0}, None], *POINT, "convergence"),
        "`point.convergence`",
    ),
    "exact -1": (number(-1, *STRATEGY, "exact"), "`strategy.exact` must be an integer"),
    "rest 0.5": (number(0.5, *STRATEGY, "rest"), "`strategy.rest` must be an integer"),
    "slow text": (number("1", *STRATEGY, "slow"), "`strategy.slow` must be an integer"),
    "random a list": (number([1], "random"), None),
    "history of strings": (to("history", lambda rows: rows.astype(str)), "`history`"),
    "history of text": (to("history", lambda _: "[]"), "`history`"),
    "history complex": (to("history", lambda rows: rows * 1j), "`history`"),
    "no row": (to("history", lambda rows: rows[:0]), "`history` has no row"),
    "a column less": (to("history", lambda rows: rows[:, 1:]), "`history`"),
    "an unknown column": (column("step", "stride"), "unknown column 'stride'"),
    "a column twice": (column("cost", "objective"), "`history` has no column cost"),
    "iteration 1e9": (cell("iteration", 1e9), "`history.iteration` must be 0, 1"),
    "objective NaN": (cell("objective", NAN), "`history.objective` must be a finite"),
    "another objective": (cell("objective", 1e3), "its objective is 1000"),
    "gradient negative": (cell("gradient_norm", -1.0), "`history.gradient_norm`"),
    "another gradient": (cell("gradient_norm", 1e3), "its gradient norm is 1000"),
    "cycles 1e9 in between": (cell("state_cycles", 1e9, 1), "`history.state_cycles` must not dec"),
    "steps of a half": (cell("state_steps", 0.5, 0), "`history.state_steps` must be an integer"),
    "seconds negative": (cell("seconds", -1.0, 0), "`history.seconds`"),
    "control cut": (to("control.u", lambda values: values[:, :-1]), "`control.u` must be float64"),
    "control NaN": (entry("control.u", NAN), "`control.u` contains NaN"),
    "control complex": (to("control.u", lambda values: values * 1j), "`control.u` must be float64"),
    "control single": (to("control.u", np.float32), "`control.u` must be float64"),
    "another control": (to("control.u", lambda values: values + 0.1), "belongs to another problem"),
    "state cut": (to("state", lambda values: values[1:]), "`state` must be float64"),
    "state text": (to("state", lambda values: values.astype(str)), "`state` must be float64"),
    "state complex": (to("state", lambda values: values * (1 + 1j)), "`state` must be float64"),
    "state infinite": (entry("state", INF), "`state` contains NaN or infinity"),
    "another state": (to("state", lambda values: values * 1.01), "belongs to another problem"),
    "adjoint cut": (to("adjoint", lambda values: values[:-1]), "`adjoint` must be float64"),
    "adjoint NaN": (entry("adjoint", NAN), "`adjoint` contains NaN"),
    "another adjoint": (to("adjoint", lambda values: values[::-1]), "its gradient norm is"),
    "adjoint zero": (to("adjoint", np.zeros_like), "its gradient norm is"),
    "trajectory text": (to("trajectory", lambda values: values.astype(str)), "`trajectory`"),
    "another trajectory": (to("trajectory", lambda values: 2 * values), "norm of the states"),
    **{
        f"product {value}": (entry("products", value), text)
        for value, text in (
            (0.0, r"`products` must have \(s, y\) > 0"),
            (-1.0, r"`products` must have \(s, y\) > 0"),
            (NAN, "`products` contains NaN"),
            (INF, "`products` contains NaN"),
            (1e3, r"`products` has 1000 for a pair with \(s, y\)"),
        )
    },
    "another (y, y)": (to("products", lambda values: values * [[[1.0]], [[2.0]]]), r"\(y, y\) ="),
    "products text": (to("products", lambda values: values.astype(str)), "`products`"),
    "products flat": (to("products", np.ravel), "`products`"),
    "a product": (to("products", np.sum), "`products`"),
    "a pair more": (
        to("products", lambda values: np.pad(values, ((0, 0), (0, 1), (0, 1)))),
        r"`[sy]\.u` must be float64",
    ),
    "a million products": (to("products", lambda _: np.ones(10**6)), "`products`"),
    "y cut": (to("y.u", lambda values: values[:-1]), r"`y\.u` must be float64"),
    "y NaN": (entry("y.u", NAN), r"`y\.u` contains NaN"),
}  # fmt: skip
"""Of a run of fixed cycles on two levels, with a control `u`; None where nothing is refused."""

EFFORTS = {
    f"effort {value}": (number(value, *STRATEGY, "effort"), "`strategy.effort` must be an integer")
    for value in (2**60, 10**9, 0, -1, 1.5, "1", NAN)
} | {"no effort": (number(..., *STRATEGY, "effort"), "`strategy` must have effort")}

LAGGED = {
    "tau infinite": (entry("state_tau", INF), "`state_tau` contains NaN or infinity"),
    "adjoint tau NaN": (entry("adjoint_tau", NAN), "`adjoint_tau` contains NaN"),
    "tau cut": (to("state_tau", lambda values: values[1:]), "`state_tau` must be float64"),
    "no tau": (without("adjoint_tau"), "no entry `adjoint_tau`"),
}

ADAPTIVE = {
    "eta NaN": (number(NAN, *STRATEGY, "eta"), "`strategy.eta` must be above 0"),
    "eta 0": (number(0.0, *STRATEGY, "eta"), "`strategy.eta` must be above 0"),
    "failures 1e9": (number(1e9, *STRATEGY, "failures"), "`strategy.failures` must be an integer"),
    "growth -1": (number(-1, *STRATEGY, "growth"), "`strategy.growth` must be an integer"),
    "no ratio": (number(..., *STRATEGY, "of_state", "ratio"), "`strategy.of_state` must have"),
    "ratio 2": (number(2.0, *STRATEGY, "of_state", "ratio"), "`strategy.of_state.ratio`"),
    "ratio text": (number("0.3", *STRATEGY, "of_state", "ratio"), "`strategy.of_state.ratio`"),
    "last negative": (number(-1.0, *STRATEGY, "of_state", "last"), "`strategy.of_state.last`"),
    "sensitivity -1": (number(-1.0, *STRATEGY, "sensitivity"), "`strategy.sensitivity`"),
}

GENERATORS = {
    "PCG64": {
        "state text": (number("1", "random", "state", "state"), "`random.state.state`"),
        "state 2**200": (number(2**200, "random", "state", "state"), "`random.state.state`"),
        "state negative": (number(-1, "random", "state", "inc"), "`random.state.inc`"),
        "no state": (number(..., "random", "state"), "`random` must have"),
        "has_uint32 7": (number(7, "random", "has_uint32"), "`random.has_uint32`"),
        "uinteger 2**40": (number(2**40, "random", "uinteger"), "random"),
        "another kind": (number("SFC64", "random", "bit_generator"), "of the kind SFC64"),
        "kind a number": (number(3, "random", "bit_generator"), "of the kind 3"),
    },
    "MT19937": {
        "pos 1e6": (number(10**6, "random", "state", "pos"), "`random.state.pos`"),
        "key of two": (number([1, 2], "random", "state", "key"), "`random.state.key` must be 624"),
        "key of text": (number(["1"] * 624, "random", "state", "key"), "`random.state.key`"),
        "key 2**40": (number([2**40] * 624, "random", "state", "key"), "random"),
    },
}
