"""Dense residual networks as optimal-control problems: the layers are the time steps.

A batch of B examples is one state, a matrix of shape (width, B):

    y_0     = sigma(W_in x + b_in), or x padded with zeros
    y_{n+1} = y_n + dt sigma(K_n y_n + b_n),   n = 0..N-1,   dt = T / N
    J       = mean of the softmax cross-entropy of z = W y_N + mu, plus regularisers

The control consists of the time-dependent fields ``weight`` (K) and ``bias`` (b) and the shared
fields ``opening_weight``, ``opening_bias``, ``classification_weight`` (W), ``classification_bias``
(mu). Haber & Ruthotto, Inverse Problems 34 (2018) 014004, doi:10.1088/1361-6420/aa9a90.
"""

from problems.resnet.layers import (
    AffineMap,
    DenseMap,
    Opening,
    PaddedOpening,
    ResidualLayers,
    ResidualLayersAdjoint,
    TrainedOpening,
)
from problems.resnet.network import (
    BIASES,
    DenseNetwork,
    Network,
    Regularisation,
    check_choices,
    check_examples,
    check_sizes,
)
from problems.resnet.prediction import classify, probabilities

__all__ = [
    "BIASES",
    "AffineMap",
    "DenseMap",
    "DenseNetwork",
    "Network",
    "Opening",
    "PaddedOpening",
    "Regularisation",
    "ResidualLayers",
    "ResidualLayersAdjoint",
    "TrainedOpening",
    "check_choices",
    "check_examples",
    "check_sizes",
    "classify",
    "probabilities",
]
