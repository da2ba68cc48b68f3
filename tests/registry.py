"""One registry of steppers, adjoints, objectives and problems: an implementation is one line.

``PROBLEMS[name]()`` makes a small problem; contract tests run over all of them. The ODE helper
classes below are independent of `problems/`.
"""

from functools import partial
from importlib.util import find_spec

import numpy as np
from mesh_problems import reaction_problem
from ode_cases import compiled_symbolic, forced_problem, forced_symbolic
from pendulum_cases import (
    Pendulum,
    PendulumAdjoint,
    RunningCost,
    Swift,
    SwiftAdjoint,
    TerminalCost,
)
from strict_space import PredatorsInPlace, predators

import pint
from pint.steppers import SCHEMES as READY_MADE
from problems.convolution import ConvolutionalNetwork
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

# y' = lambda y


def amplification(scheme, z):
    """Return R(z) of a one-step method for y' = lambda y, z = lambda dt."""
    return {
        "forward-euler": 1 + z,
        "backward-euler": 1 / (1 - z),
        "trapezoid": (1 + z / 2) / (1 - z / 2),
    }[scheme]


SCHEMES = ("forward-euler", "backward-euler", "trapezoid")


class Dahlquist(pint.TimeStepper):
    """``y_{n+1} = R(lambda dt) y_n + dt (B u_n + C theta)``, y_0 = theta + 1, y in R^2.

    Two real eigenvalues that B and C mix; linear, so that its adjoint is exact on each level.
    """

    B = np.array([[1.0, -0.5], [0.3, 0.7]])
    C = np.array([[0.2, 0.1], [-0.4, 0.5]])
    rates = np.array([-1.0, -0.3])
    initial_state = np.zeros(2)

    def __init__(self, scheme, batched=True):
        self.scheme = scheme
        self.batched = batched

    def initial(self, theta):
        return theta["theta"] + 1.0

    def step(self, s, y, u, theta):
        force = u["u"] @ self.B.T + theta["theta"] @ self.C.T
        return amplification(self.scheme, self.rates * s.dt) * y + s.dt * force


class DahlquistAdjoint(pint.Adjoint):
    def __init__(self, stepper):
        self.stepper = stepper

    def vjp(self, s, y, u, theta, lam):
        slope = s.dt * lam
        du, dtheta = slope @ self.stepper.B, slope @ self.stepper.C
        dy = self.step(s, y, u, theta, lam)
        return dy, {"u": du}, {"theta": dtheta.reshape(-1, 2).sum(axis=0)}

    def step(self, s, y, u, theta, lam):
        return amplification(self.stepper.scheme, self.stepper.rates * s.dt) * lam

    def initial_vjp(self, theta, lam0):
        return {"theta": lam0}


class Coarsened(Dahlquist):
    """Forward Euler on level 0, backward Euler on the others."""

    def __init__(self):
        super().__init__("forward-euler")

    def coarsen(self, level):
        return Dahlquist("backward-euler")


class CoarsenedAdjoint(DahlquistAdjoint):
    def coarsen(self, level):
        return DahlquistAdjoint(self.stepper.coarsen(level))


class Effort(pint.Objective):
    """Costs that do not depend on states: 0.0 stands for their derivatives.

    ``l = dt theta_0^2 |u|^2``, ``psi = theta . theta``.
    """

    def step_cost(self, s, y0, y1, u, theta):
        dt = s.dt[:, 0] if np.ndim(s.dt) else s.dt
        return dt * theta["theta"][0] ** 2 * (u["u"] ** 2).sum(axis=-1)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        u, first = u["u"], theta["theta"][0]
        dtheta = np.array([2 * first * (s.dt * u**2).sum(), 0.0])
        return 0.0, 0.0, {"u": 2 * s.dt * first**2 * u}, {"theta": dtheta}

    def terminal(self, y, theta):
        return theta["theta"] @ theta["theta"]

    def terminal_derivative(self, y, theta):
        return 0.0, {"theta": 2 * theta["theta"]}


class Arrival(pint.Objective):
    """``l = dt |y1|^2 / 2``, ``psi`` zero by default: 0.0 stands for the derivative to y0."""

    def step_cost(self, s, y0, y1, u, theta):
        dt = s.dt[:, 0] if np.ndim(s.dt) else s.dt
        return 0.5 * dt * (y1**2).sum(axis=-1)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, s.dt * y1, {}, {}


# Registry

STEPPERS = {
    **{
        f"dahlquist-{scheme}{suffix}": lambda scheme=scheme, batched=batched: Dahlquist(
            scheme, batched
        )
        for scheme in SCHEMES
        for batched, suffix in ((True, ""), (False, "-loop"))
    },
    "pendulum": lambda: Pendulum(batched=True),
    "pendulum-loop": lambda: Pendulum(batched=False),
    "swift": lambda: Swift(batched=True),
    "swift-loop": lambda: Swift(batched=False),
}

ADJOINTS = {Dahlquist: DahlquistAdjoint, Pendulum: PendulumAdjoint, Swift: SwiftAdjoint}

OBJECTIVES = {
    "terminal": TerminalCost,
    "running": RunningCost,
    "effort": Effort,
    "arrival": Arrival,
}


def small_problem(stepper, objective, restrict="inject", regularised=True):
    """Return a problem with fields u (time, 2) and theta (shared, 2) from two registry names."""
    stepper = STEPPERS[stepper]()
    fields = {"u": pint.TimeControl(2, restrict=restrict), "theta": pint.SharedControl(2)}
    regularisers = [pint.Tikhonov(0.3, ["u", "theta"]), pint.Smoothness(0.02, ["u"])]
    return pint.Problem(
        stepper,
        ADJOINTS[type(stepper)](stepper),
        OBJECTIVES[objective](),
        fields,
        regularisers if regularised else [],
    )


# Each stepper with some of the objectives, each objective with batched steps and single ones.
PAIRS = [
    ("dahlquist-forward-euler", "running"),
    ("dahlquist-forward-euler-loop", "terminal"),
    ("dahlquist-backward-euler", "terminal"),
    ("dahlquist-backward-euler-loop", "running"),
    ("dahlquist-trapezoid", "running"),
    ("dahlquist-trapezoid-loop", "terminal"),
    ("pendulum", "terminal"),
    ("pendulum", "running"),
    ("pendulum", "effort"),
    ("pendulum-loop", "terminal"),
    ("pendulum-loop", "running"),
    ("pendulum-loop", "arrival"),
    ("swift", "running"),
    ("swift", "arrival"),
    ("swift-loop", "terminal"),
    ("swift-loop", "effort"),
]

PROBLEMS = {f"{pair[0]}-{pair[1]}": partial(small_problem, *pair) for pair in PAIRS}


def coarsened_problem():
    """Return a problem whose coarse steps are others."""
    stepper = Coarsened()
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    return pint.Problem(stepper, CoarsenedAdjoint(stepper), RunningCost(), fields)


PROBLEMS["coarsened"] = coarsened_problem

# Coarse levels with other state spaces: transfers by matrices, and by functions
PROBLEMS["reaction"] = reaction_problem
PROBLEMS["reaction-loop"] = partial(reaction_problem, (7, 3), batched=False)


def random_control(controls, seed=0, deviation=0.5):
    """Return a normal control, the same on any number of ranks."""
    random = np.random.default_rng(seed)
    values = {}
    for name, field in controls.fields.items():
        steps = (controls.grid.steps,) if name in controls.time_fields else ()
        values[name] = deviation * random.standard_normal((*steps, *field.shape))
    return controls.control(**values)


# Dense residual networks: every two of activation, bias and opening occur together


def dense_network(activation, bias, opening):
    """Return a network of width 4 that classifies seven points of the peaks data."""
    network = DenseNetwork(2, 4, 5, activation=activation, bias=bias, opening=opening)
    x, labels = generate(7, seed=1)
    weights = Regularisation(tikhonov=1e-2, opening=2e-2, classification=3e-2, smooth=4e-2)
    return network.problem(x, labels, weights)


NETWORKS = {
    f"dense-{activation}-{bias}-{opening}": partial(
        dense_network, activation=activation, bias=bias, opening=opening
    )
    for activation, bias, opening in (
        ("tanh", "vector", "trained"),
        ("tanh", "scalar", "pad"),
        ("relu", "vector", "pad"),
        ("relu", "scalar", "trained"),
        ("smoothrelu", "vector", "trained"),
        ("smoothrelu", "scalar", "pad"),
    )
}


# Convolutional networks: each activation with each number of channels, each bias, opening and pool


def convolutional_network(
    channels, activation, bias, opening, pool, kernel=3, pixels=(2, 4), seed=23, pooled_levels=0
):
    """Return a network that classifies two images with one or two channels."""
    image = (min(2, channels), *pixels)
    shape = (image, channels, 3, kernel, activation, bias, opening, pool, pooled_levels)
    network = ConvolutionalNetwork(*shape)
    x, labels = np.random.default_rng(seed).standard_normal((2, *image)), np.eye(3)[[0, 2]]
    weights = Regularisation(tikhonov=1e-2, opening=2e-2, classification=3e-2, smooth=4e-2)
    return network.problem(x, labels, weights)


NETWORKS.update(
    {
        f"convolution-{channels}-{activation}-{bias}-{opening}-{pool}": partial(
            convolutional_network,
            channels=channels,
            activation=activation,
            bias=bias,
            opening=opening,
            pool=pool,
        )
        for channels, activation, bias, opening, pool in (
            (1, "tanh", "vector", "trained", 1),
            (2, "tanh", "scalar", "replicate", 2),
            (4, "tanh", "scalar", "trained", 1),
            (1, "relu", "vector", "replicate", 2),
            (2, "relu", "vector", "trained", 2),
            (4, "relu", "vector", "replicate", 1),
            (1, "smoothrelu", "scalar", "trained", 2),
            (2, "smoothrelu", "scalar", "replicate", 1),
            (4, "smoothrelu", "vector", "trained", 2),
        )
    }
)
NETWORKS["convolution-kernel-5"] = partial(
    convolutional_network,
    channels=2,
    activation="tanh",
    bias="vector",
    opening="trained",
    pool=1,
    kernel=5,
    pixels=(6, 3),
)
NETWORKS["convolution-pooled-images"] = partial(
    convolutional_network,
    channels=2,
    activation="tanh",
    bias="vector",
    opening="trained",
    pool=1,
    pixels=(8, 12),
    pooled_levels=2,
)

PROBLEMS.update(NETWORKS)


# Ready-made schemes, quadratures, and the same problem from expressions

SAME = ("backward-euler", "implicit-midpoint")  # other names of schemes
PROBLEMS.update(
    {
        f"forced-{name}": partial(forced_problem, name=name)
        for name in READY_MADE
        if name not in SAME and not name.startswith("imex")  # those need a SplitODE
    }
)
PROBLEMS.update(
    {
        f"forced-rk2-{rule}": partial(forced_problem, name="rk2", quadrature=rule)
        for rule in ("left", "right", "midpoint")
    }
)
COARSE = (
    *("implicit-euler", "midpoint", "crank-nicolson", "sdirk2", "two-solve"),
    *("rkc", "rkc:5", "substeps:3"),
)
PROBLEMS.update(
    {f"coarse-{name}": partial(forced_problem, name="rk4", coarse=name) for name in COARSE}
)
"""Other steps on coarse levels."""
PROBLEMS["symbolic-rk4"] = lambda: forced_symbolic().problem("rk4")

COMPILED = {
    f"compiled-{name}": partial(compiled_symbolic, name)
    for name in (READY_MADE if find_spec("numba") else ())
    # The numbers of "sdirk2" are compared by tests/steppers/test_compiled.py.
    if name not in SAME and "dirk" not in name and not name.startswith("imex")
}
COMPILED.update(
    {
        f"compiled-coarse-{name}": partial(compiled_symbolic, "rk4", coarse=name)
        for name in (("rkc", "substeps:3") if COMPILED else ())
    }
)
"""Steps in machine code, where there is a compiler."""
PROBLEMS.update(COMPILED)


# States that are no numpy arrays, and the same problems with states that are

PREDATORS = {
    "predators": {},
    "predators-loop": {"batched": False},
    "predators-in-place": {"stepper": PredatorsInPlace},
    "predators-in-place-loop": {"batched": False, "stepper": PredatorsInPlace},
}

STRICT = {f"strict-{name}": partial(predators, **options) for name, options in PREDATORS.items()}

PROBLEMS.update(STRICT)
PROBLEMS.update(
    {name: partial(predators, **options, array=np.array) for name, options in PREDATORS.items()}
)
