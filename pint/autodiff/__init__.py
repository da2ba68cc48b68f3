"""Steps and costs written in PyTorch or JAX: all derivatives by automatic differentiation.

`pint.autodiff.torch` and `pint.autodiff.jax` need their libraries; neither is imported here.
"""
