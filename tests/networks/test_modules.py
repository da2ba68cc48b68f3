"""Networks of modules: gradients of plain autograd, weights in and out, mistakes."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from modules import KINDS, Two, gradients, made
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import pint
from pint.equations import Cycles
from pint.torch import network


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "accuracy"), [("float64", 1e-12), ("float32", 1e-5)])
def test_gradients_are_those_of_autograd(kind, dtype, accuracy):
    one, data = made(kind, getattr(torch, dtype))
    for levels in (1, 2):
        reduced = pint.ReducedFunctional(one, one.grid(coarsening=4, levels=levels))
        control = one.start(reduced.controls, seed=3)
        module = one.module(control)
        value, expected = gradients(module, data)
        J, slope = reduced.value_and_gradient(control)
        derivative = reduced.derivative(control)
        assert pytest.approx(value, rel=accuracy) == J
        assert np.isfinite(slope.vector).all()
        for name, reference in expected.items():
            size = np.abs(reference).max()
            found = derivative[name].reshape(reference.shape)
            np.testing.assert_allclose(found, reference, atol=accuracy * size)


@pytest.mark.parametrize("kind", ["two", "gated"])
def test_a_network_passes_the_checks(kind):
    one, _ = made(kind, layers=8)
    pint.verify.check_problem(one, one.grid(coarsening=2, levels=2)).require()


def test_cycles_converge_faster_where_layers_begin_alike():
    one, _ = made("two", layers=32)
    rf = pint.ReducedFunctional(one, one.grid(coarsening=4, levels=2))
    state, factors = rf.state.new(), []
    for same in (False, True):
        rf.state.solve(state, one.start(rf.controls, 3, same), Cycles(pint.Accuracy(2)))
        first, second = state.convergence.residuals
        factors.append(second / first)
    assert factors[1] < 0.1 * factors[0] < 0.1


def test_layers_of_one_kind_begin_alike():
    one, _ = made([("two", 3), ("normed", 5)], layers=8)
    start = one.start(one.control_space(one.grid()), same=True)
    layers = [str(state) for state in one.state_dicts(start)["layers"]]
    assert len(set(layers[:3])) == len(set(layers[3:])) == 1


def test_weights_go_in_and_out_without_loss():
    one, _ = made("gated", torch.float32)
    control = one.start(one.control_space(one.grid()), seed=5)
    found = one.state_dicts(control)
    assert len(found["layers"]) == 16
    again = one.load(found)
    np.testing.assert_array_equal(again.vector, control.vector)
    module = one.module(again)
    for block, weights in zip(module.blocks, found["layers"], strict=True):
        assert all(torch.equal(block.state_dict()[name], weights[name]) for name in weights)
    assert len({float(w["gate.weight"][0, 0]) for w in found["layers"]}) == 16
    found["layers"].pop()
    with pytest.raises(ValueError, match="15 layers are given, the grid has 16"):
        one.load(found)
    found["layers"].append({})
    with pytest.raises(ValueError, match="have no entry"):
        one.load(found)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.b.weight = self.a.weight
        self.register_buffer("scale", torch.tensor(0.5))
        self.register_buffer("passing", torch.ones(8), persistent=False)

    def forward(self, y):
        return self.scale * self.b(torch.tanh(self.a(y))) * self.passing


def test_state_dicts_are_those_of_the_module():
    one, _ = made(Tied)
    control = one.start(one.control_space(one.grid()))
    found = one.state_dicts(control)
    Tied().load_state_dict(found["layers"][3])  # all names, and no others
    np.testing.assert_array_equal(one.load(found).vector, control.vector)
    layer = found["layers"][2]
    for name, value, message in (
        ("scale", torch.tensor(0.7), "buffer `block.scale` must be that of the module"),
        ("b.weight", layer["a.weight"] + 1.0, "must be `a.weight`, to which it is tied"),
        ("c.weight", layer["a.weight"], "has no entry `c.weight`"),
    ):
        found["layers"][2] = layer | {name: value}
        with pytest.raises(ValueError, match=message):
            one.load(found)
    assert float(one.parts["block"].module.scale) == 0.5


def test_a_module_that_holds_others_has_the_last_word_in_a_start():
    one, _ = made(lambda: Heads())
    states = one.state_dicts(one.start(one.control_space(one.grid())))["layers"]
    # As made: PyTorch sets this bias to zero, after the layer that it belongs to.
    assert all(float(state["inner.out_proj.bias"].abs().max()) == 0.0 for state in states)


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, y):
        return self.inner(y[:, None], y[:, None], y[:, None])[0][:, 0]


@pytest.mark.parametrize(
    ("convert", "message"),
    [(torch.jit.script, "TorchScript"), (nn.utils.weight_norm, "cannot be copied")],
)
@pytest.mark.filterwarnings("ignore")
def test_modules_without_copies_are_one_line(convert, message):
    with pytest.raises((TypeError, ValueError), match=message):
        made(lambda: convert(nn.Linear(8, 8)))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda outputs, labels: outputs.detach().mean(), "cannot be differentiated"),
        (lambda outputs, labels: outputs.mean() + torch.rand(()), "must not take random"),
    ],
)
def test_wrong_losses_are_one_line(loss, message):
    data = {"inputs": torch.zeros(6, 4), "labels": torch.zeros(6, dtype=int)}
    with pytest.raises(ValueError, match=message):
        network(nn.Linear(4, 4), loss=loss, layers=4, final_time=1.0, **data)


def test_weights_that_are_no_state_dicts_are_one_line():
    one, _ = made("two")
    found = one.state_dicts(one.start(one.control_space(one.grid())))
    for wrong in ([1], found | {"tail": {}}):
        with pytest.raises(ValueError, match="with the entries 'layers', 'opening'"):
            one.load(wrong)
    with pytest.raises(ValueError, match="0 layers are given"):
        one.load({})
    with pytest.raises(TypeError, match="must be a state_dict"):
        one.load(found | {"layers": [Two() for _ in range(16)]})
    other, _ = made("normed")
    with pytest.raises(ValueError, match="must be one of this network"):
        other.module(one.load(found))


def test_training_lowers_the_loss_and_the_module_leaves_with_it():
    one, data = made("two")
    reduced = pint.ReducedFunctional(one, one.grid(coarsening=4, levels=2))
    start = one.start(reduced.controls)
    result = pint.minimize(reduced, start, pint.OneShot(iterations=15))
    assert result.objective < 0.5 * reduced.value(start)
    value, _ = gradients(one.module(result.control), data)
    assert result.objective == pytest.approx(value, rel=1e-12)


def test_adam_is_that_of_torch():
    one, data = made("two", layers=6, batch_size=12)
    reduced = pint.ReducedFunctional(one, one.grid())
    start = one.start(reduced.controls)
    module = one.module(start)
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(8):
        optimiser.zero_grad()
        functional.cross_entropy(module(data["inputs"]), data["labels"]).backward()
        optimiser.step()
    method = pint.Stochastic(pint.adam(), epochs=8, learning_rate=1e-2, shuffle=False)
    result = pint.minimize(reduced, start, method)
    value, _ = gradients(module, data)
    assert result.objective == pytest.approx(value, rel=1e-10)


def test_mini_batches():
    one, data = made("normed", examples=12, batch_size=5)
    reduced = pint.ReducedFunctional(one, one.grid(coarsening=4, levels=2))
    control = one.start(reduced.controls)
    reduced.select([7, 1, 4])
    module = one.module(control)
    rows = [7, 1, 4]
    part = {"inputs": data["inputs"][rows], "labels": data["labels"][rows]}
    value, expected = gradients(module, part)
    assert reduced.value(control) == pytest.approx(value, rel=1e-12)
    derivative = reduced.derivative(control)
    for name, reference in expected.items():
        np.testing.assert_allclose(derivative[name], reference, atol=1e-12)
    for wrong in ([12], [0] * 6):
        with pytest.raises(ValueError, match=r"select\(indices\)"):
            reduced.select(wrong)


@pytest.mark.parametrize("levels", [1, 2])
def test_several_kinds_of_layers_in_a_row(levels):
    one, data = made([("two", 7), ("normed", 5), ("two", 4)])
    reduced = pint.ReducedFunctional(one, one.grid(coarsening=4, levels=levels))
    control = one.start(reduced.controls, seed=3)
    module = one.module(control)
    value = functional.cross_entropy(module(data["inputs"]), data["labels"])
    value.backward()
    assert reduced.value(control) == pytest.approx(value.item(), rel=1e-12)
    derivative = reduced.derivative(control)
    expected = {name: np.zeros_like(block) for name, block in control.time.items()}
    for layer, (block, kind) in enumerate(zip(module.blocks, one.kinds, strict=True)):
        assert type(block) is type(kind.module)
        for name, weight in block.named_parameters():
            expected[kind.field(name)][layer] = weight.grad.numpy()
    for name, reference in expected.items():
        np.testing.assert_allclose(derivative[name], reference, atol=1e-13)
    assert [part.name for part in one.kinds] == ["block1"] * 7 + ["block2"] * 5 + ["block3"] * 4
    again = one.load(one.state_dicts(control))
    np.testing.assert_array_equal(again.vector, control.vector)
    with pytest.raises(ValueError, match="several kinds"):
        one.start(one.control_space(pint.TimeGrid.uniform(1.0, 8)))


class Dropped(nn.Module):
    """Dropout of a dense layer's result."""

    def __init__(self):
        super().__init__()
        self.a, self.dropped = nn.Linear(8, 8), nn.Dropout(0.4)

    def forward(self, y):
        return self.dropped(torch.tanh(self.a(y)))


def test_dropout_belongs_to_layer_and_batch():
    one, data = made(Dropped, batch_size=6, layers=8)
    single, double = (
        pint.ReducedFunctional(one, one.grid(coarsening=2, levels=levels)) for levels in (1, 2)
    )
    control = one.start(double.controls)
    values = []
    for batch in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5]):
        single.select(batch)
        double.select(batch)
        before = torch.get_rng_state()
        values.append(single.value(control))
        assert torch.equal(torch.get_rng_state(), before)
        assert double.value(control) == pytest.approx(values[-1], rel=1e-10)
        derivative = single.derivative(control)
        np.testing.assert_allclose(double.derivative(control).vector, derivative.vector, atol=1e-10)
    assert values[0] == values[2] != values[1]
    # The derivative is that of the value with these masks.
    along = one.start(double.controls, seed=7)
    step = 1e-5
    slope = (single.value(control + step * along) - single.value(control - step * along)) / step / 2
    assert double.controls.pair(derivative, along) == pytest.approx(slope, rel=1e-7)
    module = one.module(control).eval()
    assert single.value(control) != pytest.approx(
        functional.cross_entropy(module(data["inputs"][:6]), data["labels"][:6]).item(), rel=1e-3
    )


def test_each_layer_has_its_own_mask():
    one, _ = made(Dropped, layers=4)
    stepper, control = one.stepper, one.start(one.control_space(one.grid()))
    same = {name: np.repeat(block[:1], 4, 0) for name, block in control.time.items()}
    s = one.grid().batch(0, range(4), 2)
    found = stepper.step(s, np.ones((4, 12, 8)), same, {}) - 1.0
    assert len({tuple((one == 0).ravel()) for one in found}) == 4
    np.testing.assert_array_equal(stepper.step(s, np.ones((4, 12, 8)), same, {}) - 1.0, found)


class Wrong(nn.Module):
    """A layer with a mistake."""

    def __init__(self, mistake):
        super().__init__()
        self.a, self.mistake = nn.Linear(4, 4), mistake
        self.normed = nn.BatchNorm1d(4)
        self.all = [self.a.bias]

    def forward(self, y):
        if self.mistake == "changes":
            y += 1.0
        found = self.a(y)
        kinds = {
            "shape": lambda: found[:, :3],
            "type": lambda: found.float(),
            "random": lambda: found + float(np.random.default_rng().standard_normal()),
            "buffer": lambda: self.normed(found),
            "graph": lambda: found.detach(),
            "raises": lambda: found @ found[:2],
            "weight": lambda: found + self.a.bias.data.add_(1.0),
            "nan": lambda: torch.log(-found.square()),
            "list": lambda: found + self.all[0],
            "again": lambda: checkpoint(self.a, torch.tanh(found), use_reentrant=False),
        }
        return kinds.get(self.mistake, lambda: found)()


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("changes", "must not change its input"),
        ("shape", "must return the shape of its states"),
        ("type", "must return the type of its states"),
        ("random", "returns something else when it is called again"),
        ("buffer", "changes its buffer `normed.running_mean`"),
        ("graph", "cannot be differentiated"),
        ("raises", "raises RuntimeError for arguments of the shapes"),
        ("nan", "returns NaN"),
        ("weight", "must not change its parameter `a.bias`"),
        ("list", "reaches parameters by another way than its attributes"),
        ("again", "computed again for its derivative"),
    ],
)
def test_wrong_modules_are_one_line(mistake, message):
    data = {"inputs": torch.zeros(6, 4, dtype=float), "labels": torch.zeros(6, dtype=int)}
    with pytest.raises((TypeError, ValueError), match=message) as error:
        network(Wrong(mistake).double(), loss=functional.cross_entropy, layers=4, **data)
    assert "\n" not in str(error.value)


def test_wrong_arguments_are_one_line():
    data = {"inputs": torch.zeros(6, 8, dtype=float), "labels": torch.zeros(6, dtype=int)}
    block = Two().double()

    def check(message, **changes):
        given = {"block": block, "loss": functional.cross_entropy, "layers": 4, **data, **changes}
        with pytest.raises((TypeError, ValueError), match=message):
            network(given.pop("block"), **given)

    check("is torch.float64, the parameters are torch.float32", block=Two())
    check("all of float32, got", head=nn.Linear(8, 3))
    check("must have 6 rows", labels=torch.zeros(5, dtype=int))
    check("an axis of examples", inputs=torch.zeros(6, dtype=float))
    check("has no parameters", block=nn.Tanh())
    check("`a.weight` is frozen", block=Two().double().requires_grad_(False))
    check("`weight` has no shape yet", block=nn.LazyLinear(8))
    check("contains NaN or infinity", inputs=torch.full((6, 8), torch.nan, dtype=float))
    check("is on meta, the parameters are on cpu", inputs=torch.zeros(6, 8, device="meta").double())
    check("must be a `torch.nn.Module`", block=torch.tanh)
    check("must be a `torch.nn.Module`", block=[(torch.tanh, 4)])
    check("pairs of one and its number", block=[block, block])
    check(r"network\(block=...\)` must be an integer", block=[(block, 0), (Two().double(), 4)])
    check("must be 5, the layers of all blocks", block=[(block, 3), (Two().double(), 2)])
    check("is the same parameter as `block1.a.weight`", block=[(block, 3), (block, 1)])
    check("is the same parameter as `block.a.weight`", head=block.a)
    check("must begin with the shape", sequence=torch.zeros(6, 3, 2, dtype=float))
    check("'rate' or 'step'", form="euler")
    check("must return one number", loss=lambda z, labels: z)
    with pytest.raises(TypeError, match="cannot be copied"):
        import copy

        copy.deepcopy(made("two")[0])
