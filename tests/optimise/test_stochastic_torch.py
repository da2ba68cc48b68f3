"""Updates, schedules and clipping are those of PyTorch, fed with the same gradients."""

import numpy as np
import pytest

import pint
from pint import schedules
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

torch = pytest.importorskip("torch")

X, LABELS = generate(24, seed=3)
NETWORK = DenseNetwork(features=2, width=4, classes=5)
RATE, EPOCHS = 0.05, 6


def trained(rule, **options):
    """Return the controls before the updates, and their gradients, from batches in order."""
    grid = pint.TimeGrid.uniform(2.0, 8)
    weights = Regularisation(1e-3, 2e-3, 3e-3)
    problem = NETWORK.problem(X, LABELS, weights, 6, "euclidean")
    functional, other = (pint.ReducedFunctional(problem, grid) for _ in range(2))
    control, controls, gradients = NETWORK.random_control(functional.controls, 1), [], []

    def callback(iterate, control, state):
        batch = len(controls) % 4
        other.select(np.arange(6 * batch, 6 * batch + 6))
        controls.append(control.vector.copy())
        gradients.append(other.gradient(control).vector)

    method = pint.Stochastic(rule, EPOCHS, RATE, shuffle=False, **options)
    result = pint.minimize(functional, control, method, callback=callback)
    return [*controls, result.control.vector], gradients


def torch_controls(start, gradients, make, schedule=None, by="epoch", clip=None):
    weights = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimiser = make([weights])
    scheduler = schedule(optimiser) if schedule else None
    found = [start]
    for number, gradient in enumerate(gradients, 1):
        weights.grad = torch.from_numpy(gradient.copy())
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([weights], clip)
        optimiser.step()
        if scheduler is not None and (by == "update" or number % 4 == 0):
            scheduler.step()
        found.append(weights.detach().numpy().copy())
    return found


def check(rule, make, theirs=None, **options):
    by = getattr(options.get("schedule"), "by", "epoch")
    controls, gradients = trained(rule, **options)
    expected = torch_controls(controls[0], gradients, make, theirs, by, clip=options.get("clip"))
    assert len(controls) == 4 * EPOCHS + 1
    np.testing.assert_allclose(controls, expected, rtol=0, atol=1e-10)


RULES = {
    "adam": (pint.adam(), lambda w: torch.optim.Adam(w, RATE)),
    "adamw": (
        pint.adam(0.8, 0.95, 1e-6, weight_decay=0.3),
        lambda w: torch.optim.AdamW(w, RATE, (0.8, 0.95), 1e-6, weight_decay=0.3),
    ),
    "sgd": (
        pint.sgd(0.8, weight_decay=0.2),
        lambda w: torch.optim.SGD(w, RATE, 0.8, weight_decay=0.2),
    ),
    "plain": (pint.sgd(0.0, 0.2), lambda w: torch.optim.SGD(w, RATE, weight_decay=0.2)),
}


@pytest.mark.parametrize("name", RULES)
def test_each_update_is_that_of_the_optimiser(name):
    check(*RULES[name])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_gradients_are_clipped_alike(name):
    _, gradients = trained(RULES[name][0])
    norms = [np.linalg.norm(gradient) for gradient in gradients]
    middle = float(np.median(norms))
    assert min(norms) < 0.99 * middle < 1.01 * middle < max(norms)
    check(*RULES[name], clip=middle)


LR = torch.optim.lr_scheduler
SCHEDULES = {
    "step": (schedules.step(2, 0.3), lambda o: LR.StepLR(o, 2, 0.3)),
    "step of updates": (schedules.step(5, by="update"), lambda o: LR.StepLR(o, 5)),
    "cosine": (schedules.cosine(4), lambda o: LR.CosineAnnealingLR(o, 4)),
    "cosine of updates": (
        schedules.cosine(30, 0.1, by="update"),
        lambda o: LR.CosineAnnealingLR(o, 30, eta_min=0.1 * o.param_groups[0]["lr"]),
    ),
    "warm-up": (schedules.warm_up(3), lambda o: LR.LinearLR(o, total_iters=3)),
    "warm-up, cosine": (
        schedules.warm_up(6, schedules.cosine(20, by="update"), start=0.1, by="update"),
        lambda o: LR.SequentialLR(
            o, [LR.LinearLR(o, 0.1, total_iters=6), LR.CosineAnnealingLR(o, 20)], [6]
        ),
    ),
    "warm-up, step": (
        schedules.warm_up(2, schedules.step(2, 0.5)),
        lambda o: LR.SequentialLR(o, [LR.LinearLR(o, total_iters=2), LR.StepLR(o, 2, 0.5)], [2]),
    ),
    "a function": (
        lambda update, epoch: 1 / (1 + epoch),
        lambda o: LR.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    ),
    "constant": (lambda update, epoch: 1.0, None),
}


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rates_are_those_of_the_schedulers(name):
    schedule, theirs = SCHEDULES[name]
    by = getattr(schedule, "by", "epoch")
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimiser = torch.optim.SGD([weight], 0.4)
    scheduler = theirs(optimiser) if theirs else None
    for update in range(40):
        expected = optimiser.param_groups[0]["lr"]
        assert 0.4 * schedule(update, update // 4) == pytest.approx(expected, rel=1e-12, abs=1e-16)
        optimiser.step()
        if scheduler and (by == "update" or update % 4 == 3):
            scheduler.step()


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize("name", ["cosine", "warm-up, cosine", "a function"])
def test_each_update_takes_the_rate_of_the_schedule(name):
    schedule, theirs = SCHEDULES[name]
    check(*RULES["adamw"], theirs, schedule=schedule)


def test_a_network_of_modules_is_resumed_to_the_last_bit(tmp_path):
    """Its states are tensors; the error of its gradients is estimated as that of others."""
    from pint.torch import network

    torch.manual_seed(0)
    x = torch.randn(24, 3)
    parts = {"opening": torch.nn.Linear(3, 4), "head": torch.nn.Linear(4, 2)}
    block = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())

    def run(epochs, checkpoint=None):
        problem = network(
            block, **parts, loss=torch.nn.functional.cross_entropy, inputs=x,
            labels=(x[:, 0] > 0).long(), layers=8, final_time=2.0, batch_size=12, device="cpu",
        )  # fmt: skip
        functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(2.0, 8, 2, 2))
        start = problem.start(functional.controls, 0)
        method = pint.Stochastic(pint.adam(), epochs, 0.01)
        return pint.minimize(functional, start, method, checkpoint=checkpoint)

    whole, path = run(4), tmp_path / "run.npz"
    run(2, pint.Checkpoint(path))
    resumed = run(4, pint.Checkpoint(path, resume=True))
    np.testing.assert_array_equal(resumed.control.vector, whole.control.vector)
    assert 0 < whole.history[0].gradient_error < 0.1 * whole.history[0].gradient_norm
