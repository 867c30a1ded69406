"""Settings of the process as causes: each is planted, and undone by the proof; what has no effect is not named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import funcsgd
import torch_bridge
from tests.support.small_run import DATA, loss_fn, recorded

SGD = funcsgd.sgd(0.1, momentum=0.9, weight_decay=0.01)


def names(report):
    return [cause.name for cause in report.causes]


@pytest.mark.thorough
def test_an_eager_update_is_why_bits_differ():
    trace = recorded()
    with jax.disable_jit(True):
        report = torch_bridge.check(trace, SGD)
    assert (report.verdict, names(report)) == ("same function", ["update-not-compiled"]), report
    assert report.ok
    assert 0 < report.causes[0].before < 1
    assert torch_bridge.check(trace, SGD).causes == ()


@pytest.mark.thorough
def test_a_default_precision_of_products():
    """A CPU takes no notice of the setting; a port that does stands for one on a device."""

    def on_device(params, batch):
        narrow = jax.config.jax_default_matmul_precision == "bfloat16"
        cut = (lambda x: jax.lax.reduce_precision(x, 8, 7)) if narrow else (lambda x: x)
        return loss_fn({name: cut(p) for name, p in params.items()}, batch)

    with jax.default_matmul_precision("bfloat16"):
        report = torch_bridge.check(recorded(), SGD, loss_fn=on_device, data=DATA)
    assert (report.verdict, names(report)) == ("imprecise", ["matmul-precision"]), report


def run_of(model, inputs, targets, learning_rate=0.1):
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    dataset = torch.utils.data.TensorDataset(torch.tensor(inputs), torch.tensor(targets))
    loader = torch.utils.data.DataLoader(dataset, batch_size=20)
    with torch_bridge.record(model, optimizer, loader=loader) as recorder:
        for x, y in loader:
            optimizer.zero_grad()
            ((model(x) - y) ** 2).mean().backward()
            optimizer.step()
    return recorder.trace()


@pytest.mark.thorough
def test_float32_inside_a_run_in_float64():
    torch.manual_seed(0)
    inputs, targets = (np.random.default_rng(seed).standard_normal((40, n)) for seed, n in ((0, 6), (1, 3)))
    trace = run_of(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double(), inputs, targets)

    def port(cast):
        def loss(p, batch):
            x, y = batch
            h = jnp.tanh(cast(x @ p["0.weight"].T).astype(x.dtype) + p["0.bias"])
            return ((h @ p["2.weight"].T + p["2.bias"] - y) ** 2).mean()

        return loss

    with jax.enable_x64(True):
        clean = torch_bridge.check(trace, funcsgd.sgd(0.1), loss_fn=port(lambda x: x), data=(inputs, targets))
        assert (clean.ok, names(clean)) == (True, []), clean
        narrow = port(lambda x: x.astype(jnp.float32))
        report = torch_bridge.check(trace, funcsgd.sgd(0.1), loss_fn=narrow, data=(inputs, targets))
    assert (report.verdict, names(report)) == ("imprecise", ["float32-inside"]), report


class Hashed(nn.Module):
    """An embedding of hashed tokens: products beyond 2**31."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(16, 3)

    def forward(self, tokens):
        return self.table(tokens * 2654435761 % 1000003 % 16).mean(1)


@pytest.mark.thorough
def test_integers_that_overflow():
    torch.manual_seed(0)
    tokens = np.random.default_rng(0).integers(1, 50_000, (40, 4))
    targets = np.random.default_rng(1).standard_normal((40, 3)).astype(np.float32)
    trace = run_of(Hashed(), tokens, targets)

    def loss(p, batch):
        x, y = batch
        hashed = x * jnp.asarray(2654435761 if x.dtype == jnp.int64 else -1640531535, x.dtype) % 1000003 % 16
        return ((p["table.weight"][hashed].mean(1) - y) ** 2).mean()

    report = torch_bridge.check(trace, funcsgd.sgd(0.1), loss_fn=loss, data=(tokens.astype(np.int32), targets))
    assert (report.verdict, names(report)) == ("different", ["integers-overflow"]), report
