"""The definitions of the activation functions, of real or complex arrays."""

import numpy as np

SIGMA = {
    "tanh": np.tanh,
    "relu": lambda x: np.where(x.real > 0, x, 0.0),
    "smoothrelu": lambda x: np.where(
        np.abs(x.real) < 0.1, x**2 / 0.4 + x / 2 + 0.025, np.where(x.real > 0, x, 0.0)
    ),
}
