"""RMSprop through every door: recorded, replayed, restored, judged, explained, moved back."""

import jax
import numpy as np
import optax
import pytest
import torch

import torch_bridge
from torch_bridge.trace.keep import Keep

FLAGS = {"momentum": 0.9, "centered": True, "weight_decay": 1e-2, "alpha": 0.9}


def setting(**options):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
    return model, torch.optim.RMSprop(model.parameters(), **{"lr": 0.01} | options)


def train(model, optimizer, scheduler=None, steps=6):
    for _ in range(steps):
        optimizer.zero_grad()
        (model(torch.randn(7, 6)) ** 2).mean().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def run_of(steps=6, *, keep=None, scheduled=False, **options):
    model, optimizer = setting(**options)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, 20) if scheduled else None
    with torch_bridge.record(model, optimizer, scheduler=scheduler, keep=keep, twins=False) as recorder:
        train(model, optimizer, scheduler, steps)
    return recorder.trace()


def test_every_quantity_is_recorded_replayed_and_restored():
    full, digested = (run_of(keep=keep, scheduled=True, **FLAGS) for keep in (None, Keep("digest", every=100)))
    phases = {key.partition("/")[0] for key in full.keys}
    assert phases >= {"weight_decay", "square_avg", "grad_avg", "momentum_buffer", "alpha", "momentum_factor", "step"}
    assert torch_bridge.compare(full, torch_bridge.restore(digested)).identical


@pytest.mark.parametrize("flags", [FLAGS, {}], ids=["all", "none"])
def test_the_port_from_torch_is_identical_and_goes_back(flags):
    trace = run_of(**flags)
    model, optimizer = setting(**flags)
    ported = torch_bridge.from_torch(optimizer, named_parameters=model.named_parameters())
    assert torch_bridge.compare(trace, torch_bridge.replay(trace, ported.tx, drive="update")).identical


@pytest.mark.parametrize(
    ("options", "verdict"),
    [({"eps_in_sqrt": False}, "same function"), ({}, "different"), ({"eps_in_sqrt": False, "decay": 0.9}, "different")],
    ids=["right", "epsilon in the root", "decay"],
)
def test_plain_optax(options, verdict):
    tx = optax.rmsprop(0.01, **{"decay": 0.99, "eps": 1e-3} | options)
    report = torch_bridge.check(run_of(eps=1e-3), tx)
    assert report.verdict == verdict, report


def test_the_explanation_runs_and_names_what_differs():
    trace = run_of(scheduled=True, **FLAGS)
    model, optimizer = setting(**FLAGS)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, 20)
    explanation = torch_bridge.explain(optimizer, scheduler, named_parameters=model.named_parameters(), epochs=20)
    assert any("inside the momentum buffer" in text for text in explanation.differences)
    namespace = dict(explanation.functions)
    exec(explanation.funcsgd, namespace)
    assert torch_bridge.compare(trace, torch_bridge.replay(trace, namespace["tx"], drive="update")).identical
    exec(explanation.optax, namespace)
    assert isinstance(namespace["tx"], optax.GradientTransformation)


def test_torch_goes_on_from_jax():
    """Three steps in torch, three in JAX, three in torch again: those of torch alone."""
    model, optimizer = setting(**FLAGS)
    alone, its = setting(**FLAGS)
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
