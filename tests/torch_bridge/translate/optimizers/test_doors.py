"""Optimizers through every door: recorded, replayed, restored, judged, explained, moved back."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch

import torch_bridge
from tests.support.sampling import one_in
from torch_bridge.trace.keep import Keep


@dataclass(frozen=True)
class Door:
    """An optimizer of torch's.

    Attributes:
        theirs: its class.
        flags: options, as many as change what it computes.
        phases: what a trace of such a run has.
        note: of the explanation.
        port: the options in torch and the same thing in plain optax, if there is one.
        wrong: the same with one constant that is wrong.
        lr: the learning rate.
        cycles: its momentum is one that torch's schedulers know.
    """

    theirs: type[torch.optim.Optimizer]
    flags: dict[str, Any]
    phases: set[str]
    note: str
    port: tuple[dict[str, Any], Any] | None = None
    wrong: Any = None
    lr: float = 0.01
    cycles: bool = True


DOORS = {
    "rmsprop": Door(
        torch.optim.RMSprop,
        {"momentum": 0.9, "centered": True, "weight_decay": 1e-2, "alpha": 0.9},
        {"weight_decay", "square_avg", "grad_avg", "momentum_buffer", "alpha", "momentum_factor", "step"},
        "inside the momentum buffer",
        ({"eps": 1e-3}, optax.rmsprop(0.01, decay=0.99, eps=1e-3, eps_in_sqrt=False)),
        optax.rmsprop(0.01, decay=0.99, eps=1e-3),
    ),
    "adagrad": Door(
        torch.optim.Adagrad,
        {"lr_decay": 0.1, "weight_decay": 1e-2, "initial_accumulator_value": 0.1},
        {"weight_decay", "sum", "step", "lr_decay"},
        "has no lr_decay",
        ({"initial_accumulator_value": 0.1, "eps": 0.0}, optax.adagrad(0.01, 0.1, eps=0.0)),
        optax.adagrad(0.01, 0.1, eps=1e-3),
        cycles=False,
    ),
    "nadam": Door(
        torch.optim.NAdam,
        {"betas": (0.8, 0.95), "weight_decay": 1e-2, "momentum_decay": 0.01, "decoupled_weight_decay": True},
        {"decayed_parameter", "exp_avg", "exp_avg_sq", "mu_product", "momentum_decay", "beta1", "beta2", "step"},
        "grows towards beta1",
        None,
        optax.nadam(0.01),
    ),
    "radam": Door(
        torch.optim.RAdam,
        {"betas": (0.8, 0.95), "weight_decay": 1e-2, "decoupled_weight_decay": True},
        {"decayed_parameter", "exp_avg", "exp_avg_sq", "beta1", "beta2", "step"},
        "it is lost",
        ({"eps": 0.0}, optax.radam(0.01, eps=0.0)),
        optax.radam(0.01, b2=0.99, eps=0.0),
    ),
    "adamax": Door(
        torch.optim.Adamax,
        {"betas": (0.8, 0.95), "weight_decay": 1e-2},
        {"weight_decay", "exp_avg", "exp_inf", "beta1", "beta2", "step"},
        "bias corrections in float32",
        ({}, optax.adamax(0.01)),
        optax.adamax(0.01, b2=0.9),
    ),
    "adadelta": Door(
        torch.optim.Adadelta,
        {"rho": 0.8, "eps": 1e-4, "weight_decay": 1e-2},
        {"weight_decay", "square_avg", "acc_delta", "rho", "step"},
        "products be fused",
        ({}, optax.adadelta(1.0)),
        optax.adadelta(1.0, rho=0.95),
        lr=1.0,
        cycles=False,
    ),
    "rprop": Door(
        torch.optim.Rprop,
        {"etas": (0.4, 1.3), "step_sizes": (1e-3, 0.02)},
        {"prev", "step_size", "eta_minus", "step"},
        "a step behind",
        None,
        optax.rprop(0.01),
        cycles=False,
    ),
    "asgd": Door(
        torch.optim.ASGD,
        {"lambd": 0.1, "alpha": 0.5, "t0": 2.0, "weight_decay": 1e-2},
        {"weight_decay", "eta", "mu", "ax", "lambd", "step"},
        "nothing like ASGD",
        None,
        optax.sgd(0.01),
        cycles=False,
    ),
}
every_door = pytest.mark.parametrize("name", DOORS)


def by_default(*names):
    """Every door; half of those that are not named in the thorough run, half in the exhaustive one."""
    return pytest.mark.parametrize("name", [*names, *one_in(0, [x for x in DOORS if x not in names], thorough=2)])


def setting(door, **options):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    return model, door.theirs(model.parameters(), **{"lr": door.lr} | options)


def scheduler_of(door, optimizer):
    if door.cycles:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * door.lr, 20)
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)


def run_of(door, *, keep=None, scheduled=False, **options):
    model, optimizer = setting(door, **options)
    scheduler = scheduler_of(door, optimizer) if scheduled else None
    with torch_bridge.record(model, optimizer, scheduler=scheduler, keep=keep, twins=False) as recorder:
        for _ in range(6):
            optimizer.zero_grad()
            (model(torch.randn(7, 6)) ** 2).mean().backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
    return recorder.trace()


@pytest.mark.parametrize("name", one_in(2, DOORS))
def test_a_scheduled_run_is_recorded_restored_explained_and_replayed(name):
    door = DOORS[name]
    full, digested = (run_of(door, keep=keep, scheduled=True, **door.flags) for keep in (None, Keep("digest", every=9)))
    assert {key.partition("/")[0] for key in full.keys} >= door.phases
    assert torch_bridge.compare(full, torch_bridge.restore(digested)).identical
    model, optimizer = setting(door, **door.flags)
    scheduler = scheduler_of(door, optimizer)
    explanation = torch_bridge.explain(optimizer, scheduler, named_parameters=model.named_parameters(), epochs=20)
    assert any(door.note in text for text in explanation.differences), explanation
    namespace = dict(explanation.functions)
    exec(explanation.funcsgd, namespace)
    assert torch_bridge.compare(full, torch_bridge.replay(full, namespace["tx"], drive="update")).identical
    exec(explanation.optax, namespace)
    assert isinstance(namespace["tx"], optax.GradientTransformation)


@by_default("rmsprop")
def test_plain_optax(name):
    door = DOORS[name]
    options, right = door.port or ({}, None)
    trace = run_of(door, **options)
    if right is not None:
        # The rectification of optax.radam is a difference of float32 numbers, which leaves two or three digits.
        report = torch_bridge.check(trace, right, allow_imprecise=name == "radam")
        assert report.ok, report
    assert torch_bridge.check(trace, door.wrong).verdict == "different"


@by_default("rmsprop", "nadam", "rprop", "asgd")
def test_torch_goes_on_from_jax(name):
    """Three steps in torch, three in JAX, three in torch again: those of torch alone."""
    door = DOORS[name]
    model, optimizer = setting(door, **door.flags)
    alone, its = setting(door, **door.flags)
    generator = np.random.default_rng(0)
    gradients = [
        {n: generator.normal(size=p.shape).astype(np.float32) for n, p in model.named_parameters()} for _ in range(9)
    ]

    def in_torch(model, optimizer, numbers):
        for t in numbers:
            for name, p in model.named_parameters():
                p.grad = torch.tensor(gradients[t][name])
            optimizer.step()

    in_torch(alone, its, range(9))
    in_torch(model, optimizer, range(3))
    ported = torch_bridge.from_torch(optimizer, named_parameters=model.named_parameters())
    step = jax.jit(lambda g, s, p: (lambda u, s: (optax.apply_updates(p, u), s))(*ported.tx.update(g, s, p)))
    params, state = ported.params, ported.state
    for t in range(3, 6):
        params, state = step(gradients[t], state, params)
    back = torch_bridge.to_torch(params, state, optimizer, named_parameters=model.named_parameters())
    model.load_state_dict(back.model)
    optimizer.load_state_dict(back.optimizer)
    in_torch(model, optimizer, range(6, 9))
    for p, q in zip(model.parameters(), alone.parameters(), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


@pytest.mark.parametrize("name", ["nadam", "radam", "asgd"])
def test_another_order_of_operations_is_refused(name):
    model, optimizer = setting(DOORS[name], foreach=True)
    with pytest.raises(ValueError, match=r"foreach is True, with which .* leave foreach at None"):
        torch_bridge.from_torch(optimizer, named_parameters=model.named_parameters())
