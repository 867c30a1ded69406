"""Weights mapped from a trace, where torch may be absent; and a port that is checked by them."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from torch import nn

import funcsgd
import torch_bridge
from tests.support.sampling import one_in
from tests.support.small_run import recorded


def test_names_shapes_and_values_are_enough():
    trace = recorded(epochs=1)
    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731
    params = {"a": {"w": zeros(6, 5), "b": zeros(5)}, "b": {"w": zeros(5, 3), "b": zeros(3)}}
    weights = torch_bridge.map_weights(trace, params)
    assert dict(weights.layers) == {"0": "a", "2": "b"}
    moved = weights.to_jax(trace)
    assert np.array_equal(moved["a"]["w"], trace.initial["parameter/0.weight"].T)


def test_the_header_names_the_kinds_of_modules(run):
    trace, _ = run
    assert trace.static["modules"] == {
        "norm": "LayerNorm", "attn": "MultiheadAttention", "attn.out_proj": "Linear", "head": "Linear",
    }  # fmt: skip


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.attn = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        h = self.norm(x)
        return self.head((x + self.attn(h, h, h, need_weights=False)[0]).mean(1))


class Port(nnx.Module):
    def __init__(self, rngs):
        self.ln = nnx.LayerNorm(4, epsilon=1e-5, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 4, attention_fn=attention, decode=False, rngs=rngs)
        self.out = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.out((x + self.attention(self.ln(x))).mean(1))


def attention(query, key, value, **options):
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(logits), value)


@pytest.fixture(scope="module")
def run():
    torch.manual_seed(0)
    x, y = torch.randn(16, 3, 4), torch.randint(0, 2, (16,))
    model = Attends()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8, shuffle=True)
    recorder = torch_bridge.record(model, optimizer, loader=loader)
    for xs, ys in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(xs), ys).backward()
        optimizer.step()
    return recorder.trace(), (x.numpy(), y.numpy().astype(np.int32))


def loss_fn(params, batch):
    graph, _ = nnx.split(Port(nnx.Rngs(0)))
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(nnx.merge(graph, params)(x), y).mean()


def test_a_rule_is_replayed_on_projections_that_are_split(run):
    trace, _ = run
    weights = torch_bridge.map_weights(trace, nnx.state(Port(nnx.Rngs(0)), nnx.Param))
    replayed = torch_bridge.replay(trace, funcsgd.sgd(0.1, momentum=0.9), drive="update", weights=weights)
    assert torch_bridge.compare(trace, replayed).identical


@pytest.mark.parametrize("factor", one_in(0, [1.0, 1.01], thorough=2))
def test_a_port_whose_projections_are_split_is_checked(run, factor):
    trace, data = run
    params = nnx.state(Port(nnx.Rngs(0)), nnx.Param)
    weights = torch_bridge.map_weights(trace, params)
    assert "attn.in_proj_weight[4:8]" in str(weights)
    off = lambda p, batch: loss_fn(p, batch) * factor  # noqa: E731
    report = torch_bridge.check(trace, optax.sgd(0.1, momentum=0.9), weights=weights, loss_fn=off, data=data)
    assert report.verdict == ("same function" if factor == 1 else "different"), report


def test_a_sum_is_refused_where_training_is_compared(run):
    model = nn.LSTM(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = torch_bridge.record(model, optimizer)
    model(torch.randn(3, 2))[0].sum().backward()
    optimizer.step()
    trace = recorder.trace()
    params = nnx.state(nnx.OptimizedLSTMCell(2, 2, rngs=nnx.Rngs(0)), nnx.Param)
    weights = torch_bridge.map_weights(trace, params)
    with pytest.raises(ValueError, match="torch trains both"):
        torch_bridge.check(trace, optax.sgd(0.1), weights=weights)


@pytest.mark.thorough
def test_without_torch(run, tmp_path):
    run[0].save(tmp_path / "run.trace")
    program = f"""
import sys

class NoTorch:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("no torch")

sys.meta_path.insert(0, NoTorch())
import numpy as np, torch_bridge
zeros = lambda *shape: np.zeros(shape, np.float32)
norm, dense = {{"scale": zeros(4), "bias": zeros(4)}}, {{"kernel": zeros(4, 2), "bias": zeros(2)}}
heads = {{name: {{"kernel": zeros(4, 2, 2), "bias": zeros(2, 2)}} for name in ("query", "key", "value")}}
params = {{"ln": norm, "attn": heads | {{"out": {{"kernel": zeros(2, 2, 4), "bias": zeros(4)}}}}, "head": dense}}
trace = torch_bridge.Trace.load({str(tmp_path / "run.trace")!r})
weights = torch_bridge.map_weights(trace, params)
print(len(weights.pairs), weights.to_jax(trace)["head"]["kernel"].shape)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "12 (4, 2)\n"
