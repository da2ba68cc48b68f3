"""Residual networks of PyTorch modules, whose layers are time steps; needs PyTorch."""

import pint.autodiff.torch  # noqa: F401  (says what is missing without PyTorch)
from pint.torch.host import on_host
from pint.torch.network import Network, network

__all__ = ["Network", "network", "on_host"]
