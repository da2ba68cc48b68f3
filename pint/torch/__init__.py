"""Residual networks of PyTorch modules, whose layers are time steps; needs PyTorch."""

from pint.torch.network import Network, network

__all__ = ["Network", "network"]
