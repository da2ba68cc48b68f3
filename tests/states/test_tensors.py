"""The space of tensors: sums of a type of their own, checks, and mistakes in one line."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from strict_space import predators
from tensor_space import DEVICE, Catch, Predators, PredatorsAdjoint, on_a_device, tensor_predators

import pint
from pint.states.torch import explained


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_sums_do_not_round_as_states_do(dtype):
    space = pint.TorchSpace((4, 3), DEVICE, dtype, weight=0.5)
    random = np.random.default_rng(0)
    a, b = space.allocate(5000), space.allocate(5000)
    a[...], b[...] = (space.lift(random.uniform(0.5, 1, a.shape)) for _ in range(2))
    with on_a_device():
        found = (space.squared_norm(a), space.pair(a, b))
    numbers = [space.as_array(one).astype(float) for one in (a, b)]
    assert found[0] == pytest.approx(0.25 * (numbers[0] ** 2).sum(), rel=1e-12)
    # Where the product is rounded to the type of the sums
    assert found[1] == pytest.approx((numbers[0] * numbers[1]).sum(), rel=1e-12)
    assert space.state_bytes == a[0].numel() * a.element_size()
    assert space.precision == torch.finfo(a.dtype).eps


def test_a_derivative_is_summed_in_the_wide_type():
    """With the sums in bfloat16 the last of 256 equal parts would not count any more."""

    class Sum(pint.Adjoint):
        def vjp(self, s, y, u, theta, lam):
            return lam, {}, {"theta": lam.sum().reshape(1)}

    class Adding(pint.TimeStepper):
        batched = True
        space = pint.TorchSpace(1, DEVICE, "bfloat16")

        def initial(self, theta):
            return [0.0]

        def step(self, s, y, u, theta):
            return y + theta["theta"]

    class Last(pint.Objective):
        def terminal(self, y, theta):
            return y.sum()

        def terminal_derivative(self, y, theta):
            return torch.ones_like(y), {}

    problem = pint.Problem(Adding(), Sum(), Last(), {"theta": pint.SharedControl(1)})
    rf = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 1000))
    assert rf.derivative(rf.control(theta=0.25)).vector[0] == 1000


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"dtype": "int64"}, TypeError, r"`TorchSpace\(dtype=...\)` must be one of float64, "),
        ({"accumulate": "bfloat16"}, TypeError, r"accumulate=...\)` must be one of float64, "),
        ({"device": "nowhere"}, ValueError, r"`TorchSpace\(device=...\)` must be a device that"),
        ({"weight": 0}, ValueError, r"weight=...\)` must be"),
    ],
)
def test_wrong_arguments_are_one_line(options, kind, message):
    with pytest.raises(kind, match=message) as error:
        pint.TorchSpace(2, **options)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there_is_one_line():
    with pytest.raises(
        ValueError, match=r"`TorchSpace\(device=...\)` .*'cuda'.* Use 'cpu'"
    ) as error:
        pint.TorchSpace(2, device="cuda")
    assert "\n" not in str(error.value)


class WrongStep(Predators):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def step(self, s, y, u, theta):
        return self.change(super().step(s, y, u, theta), y)


def in_place(new, y):
    y += 1.0
    return new


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (in_place, ValueError, "`WrongStep.step` must not change its arguments in place"),
        (lambda new, y: new.cpu().numpy(), TypeError, f"must return tensors on {DEVICE}"),
        (
            lambda new, y: new.float(),
            TypeError,
            "return states of torch.float64, got torch.float32",
        ),
        (lambda new, y: new.to("meta"), ValueError, f"tensors on {DEVICE}, got one on meta"),
        (lambda new, y: new[..., :1], ValueError, "must return an array of shape"),
        (
            lambda new, y: new + torch.ones(2, device="meta"),
            ValueError,
            f"`WrongStep.step` uses tensors of another device than its states, .* {DEVICE}",
        ),
        (
            lambda new, y: new @ torch.eye(2, device=DEVICE),
            TypeError,
            "`WrongStep.step` uses tensors of another type than its states",
        ),
    ],
)
def test_wrong_steps_are_one_line(change, kind, message):
    step = WrongStep(change)
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(1)}
    problem = pint.Problem(step, PredatorsAdjoint(step), Catch(), fields)
    rf = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 4))
    with pytest.raises(kind, match=message) as error:
        rf.value(rf.control(theta=0.5))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Expected all tensors to be on the same device, but found cuda:0 and cpu!", ValueError),
        ("found at least two devices, cuda:0 and cpu!", ValueError),
        ("mat1 and mat2 must have the same dtype, but got Float and BFloat16", TypeError),
        ("CUDA error: device-side assert triggered", type(None)),
    ],
)
def test_what_pytorch_says_of_tensors_that_do_not_fit(text, kind):
    assert type(explained(RuntimeError(text), "`step`", torch.zeros(2))) is kind


def test_steps_with_parameters_of_their_own_build_no_graph():
    scale = torch.ones((), dtype=torch.float64, device=DEVICE, requires_grad=True)
    step = WrongStep(lambda new, y: scale * new)
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(1)}
    rf = pint.ReducedFunctional(
        pint.Problem(step, PredatorsAdjoint(step), Catch(), fields),
        pint.TimeGrid.uniform(1.0, 8, 2, 2),
    )
    control = rf.control(theta=0.5)
    same = pint.ReducedFunctional(tensor_predators(), rf.grid)
    assert rf.value(control) == pytest.approx(
        same.value(same.control(theta=0.5)) - same.problem.regularisers[0].value(control), rel=1e-12
    )
    state = rf.state.new()
    assert not state.points.requires_grad


def test_an_accuracy_out_of_reach_is_said():
    problem = tensor_predators(dtype="bfloat16")
    grid = pint.TimeGrid.uniform(1.0, 8, 2, 2)
    assert pint.ReducedFunctional(problem, grid).accuracy.relative == 8 * 2**-7
    with pytest.raises(ValueError, match=r"accuracy=...\)`: rounding of the states, 0.008"):
        pint.ReducedFunctional(problem, grid, accuracy=pint.Accuracy(30, relative=1e-6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rf, c: pint.minimize(rf, c, pint.GaussNewton()), "whole numpy arrays"),
        (
            lambda rf, c: pint.minimize(
                rf, c, pint.AugmentedLagrangian(pint.ReducedSpace(), [Arrival()])
            ),
            "`AugmentedLagrangian` needs states that are numpy arrays",
        ),
        (lambda rf, c: pint.verify.check_problem(rf.problem, rf.grid, c), "TorchSpace` stores"),
        (lambda rf, c: pint.model.measure(rf.problem, c), "`benchmarks/device.py`"),
        (lambda rf, c: rf.on(rf.grid, correction="full"), "got a TorchSpace"),
    ],
)
def test_what_is_for_arrays_says_so(call, message):
    rf = pint.ReducedFunctional(tensor_predators(), pint.TimeGrid.uniform(1.0, 8, 2, 2))
    with pytest.raises((TypeError, ValueError), match=message) as error:
        call(rf, rf.control(theta=0.5))
    assert "\n" not in str(error.value)


class Arrival(pint.TerminalConstraint):
    def value(self, y, theta):
        return y - 1.0

    def vjp(self, y, theta, weight):
        return weight, {}


def test_diagnosis_works_with_tensors():
    grid = pint.TimeGrid.uniform(1.0, 12, 3, 2)
    found = [
        pint.diagnose(pint.ReducedFunctional(problem, grid))
        for problem in (tensor_predators(), predators(array=np.array))
    ]
    with on_a_device():
        pint.diagnose(pint.ReducedFunctional(tensor_predators(), grid))
    assert str(found[0]).splitlines()[:3] == str(found[1]).splitlines()[:3]


def test_the_example_of_the_documentation():
    path = Path(__file__).parents[2] / "docs" / "examples" / "tensor_states.py"
    spec = importlib.util.spec_from_file_location("tensor_states", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with on_a_device():
        result = module.main(device=DEVICE, dtype="float32")
    assert result.objective < 1e-10
    np.testing.assert_allclose(result.states()[-1], 2.0, atol=1e-4)


def test_pint_alone_imports_no_torch():
    program = "import pint, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with pytest.raises(AttributeError, match="has no attribute 'TensorSpace'"):
        pint.TensorSpace  # noqa: B018
