"""Problems of functions of tensors whose states are tensors, too: the numbers of numpy arrays."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tensor_space import DEVICE, every_solve, on_a_device, without_numbers

import pint
from pint.autodiff.torch import problem


def rate(t, y, u, theta):
    return theta["a"] * torch.sin(y) - y.flip(-1) * u["u"] + 0.1 * torch.cos(t)


def step(t0, t1, y, u, theta):
    return y + (t1 - t0) * rate(t0, y, u, theta)


def made(form="rate", initial=None, **options):
    """Return a problem; one of batches has times of shape (B,), or (B, 1)."""
    batches = options.get("batches", False)
    batched_rate = lambda t, *rest: rate(t[:, None], *rest)  # noqa: E731
    given = {"rate": batched_rate if batches else rate} if form == "rate" else {"step": step}
    return problem(
        **given,
        initial_state=[1.0, 0.5] if initial is None else initial,
        controls={"u": pint.TimeControl(2), "a": pint.SharedControl(1)},
        running_cost=lambda t, y, u, theta: (y**2).sum(-1) + 0.5 * (u["u"] ** 2).sum(-1),
        terminal_cost=lambda y, theta: ((y - 1) ** 2).sum() * theta["a"][0],
        **options,
    )


def value_and_gradient(made, levels):
    grid = pint.TimeGrid.uniform(1.0, 12, coarsening=[3, 2][: levels - 1], levels=levels)
    rf = pint.ReducedFunctional(made, grid)
    return rf.value_and_gradient(rf.control(u=0.3, a=0.7))


@pytest.mark.parametrize(
    ("form", "batches", "initial", "levels", "dtype", "accuracy"),
    [
        ("rate", False, None, 2, "float64", 1e-12),
        ("rate", True, None, 2, "float32", 1e-5),
        ("step", False, lambda th: torch.cat([th["a"], th["a"] ** 2]), 3, "float64", 1e-12),
        ("step", True, None, 1, "float32", 1e-5),
    ],
)
def test_gradients_are_those_of_numpy_arrays(form, batches, initial, levels, dtype, accuracy):
    with on_a_device():
        found = value_and_gradient(
            made(form, initial, batches=batches, dtype=dtype, device=DEVICE), levels
        )
    value, gradient = value_and_gradient(made(form, initial, batches=batches), levels)
    assert found[0] == pytest.approx(value, rel=accuracy)
    size = np.abs(gradient.vector).max()
    np.testing.assert_allclose(found[1].vector, gradient.vector, atol=accuracy * size)


def test_half_precision_within_its_own():
    """Costs are sums of wide numbers, so that only states and steps are rounded."""
    found, (value, gradient) = (
        value_and_gradient(made(dtype=d, device=where), 2)
        for d, where in (("bfloat16", DEVICE), (None, None))
    )
    assert found[0] == pytest.approx(value, rel=0.01)
    size = np.abs(gradient.vector).max()
    np.testing.assert_allclose(found[1].vector, gradient.vector, atol=0.05 * size)
    assert np.unique(found[1].vector).size > 12  # and the gradient is none of bfloat16


def test_the_type_is_that_of_the_initial_state():
    single = torch.tensor([1.0, 0.5], dtype=torch.float32)
    assert made(initial=single, device="cpu").space.torch_dtype == torch.float32
    assert made(device="cpu").space.torch_dtype == torch.float64
    assert isinstance(made(initial=single).space, pint.ArraySpace)


def test_mistakes_are_one_line():
    with pytest.raises(ValueError, match=r"torch.problem\(scheme=...\)` is 'forward-euler'"):
        made(device="cpu", scheme="crank-nicolson")
    with pytest.raises(ValueError, match="must be a device that this PyTorch"):
        made(device="nowhere")
    wrong = problem(
        step=lambda t0, t1, y, u, theta: (y + u["u"]).double(),
        initial_state=[1.0, 0.5],
        controls={"u": pint.TimeControl(2)},
        terminal_cost=lambda y, theta: y.sum(),
        dtype="float32",
    )
    rf = pint.ReducedFunctional(wrong, pint.TimeGrid.uniform(1.0, 4))
    with pytest.raises(TypeError, match=r"must return a tensor of torch.float32.*convert"):
        rf.value(rf.control(u=0.3))


def test_nothing_but_norms_and_values_leaves_the_device():
    one = made("rate", lambda theta: torch.cat([theta["a"], theta["a"] ** 2]), device="meta")
    rf = pint.ReducedFunctional(one, pint.TimeGrid.uniform(1.0, 4, 2, 2), relaxation="F")
    with without_numbers():
        assert every_solve(rf, rf.control()) == 2 * 4 + 1
