"""One layer each: against flax's and equinox's own, in float64."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from torch_bridge import map_weights

CLOSE = 1e-13

R = nnx.Rngs(0)
KEY = jax.random.key(0)
NNX = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), lambda: nnx.Conv(4, 6, (3,), padding="VALID", rngs=R), (2, 4, 7)),
    "conv2d in groups": (
        lambda: nn.Conv2d(4, 6, (3, 2), groups=2),
        lambda: nnx.Conv(4, 6, (3, 2), padding="VALID", feature_group_count=2, rngs=R),
        (2, 4, 7, 6),
    ),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), lambda: nnx.Conv(2, 3, (2, 2, 2), padding="VALID", rngs=R), (2, 2, 4, 5, 4)),
    "up1d": (
        lambda: nn.ConvTranspose1d(4, 4, 3, 2),
        lambda: nnx.ConvTranspose(4, 4, (3,), 2, padding="VALID", rngs=R),
        (2, 4, 5),
    ),
    "up3d": (
        lambda: nn.ConvTranspose3d(2, 3, (2, 3, 4)),
        lambda: nnx.ConvTranspose(2, 3, (2, 3, 4), padding="VALID", rngs=R),
        (2, 2, 4, 3, 4),
    ),
    "up turned": (
        lambda: nn.ConvTranspose2d(3, 3, (2, 3)),
        lambda: nnx.ConvTranspose(3, 3, (2, 3), padding="VALID", transpose_kernel=True, rngs=R),
        (2, 3, 4, 5),
    ),
    "instance norm": (
        lambda: nn.InstanceNorm1d(4, affine=True),
        lambda: nnx.InstanceNorm(4, epsilon=1e-5, rngs=R),
        (2, 4, 6),
    ),
}
EQUINOX = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), lambda: equinox.nn.Conv1d(4, 6, 3, key=KEY), (4, 7)),
    "up1d": (lambda: nn.ConvTranspose1d(4, 4, 3, 2), lambda: equinox.nn.ConvTranspose1d(4, 4, 3, 2, key=KEY), (4, 5)),
    "up2d in groups": (
        lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
        lambda: equinox.nn.ConvTranspose2d(4, 6, 3, groups=2, key=KEY),
        (4, 5, 4),
    ),
    "up3d": (
        lambda: nn.ConvTranspose3d(2, 3, (2, 3, 4)),
        lambda: equinox.nn.ConvTranspose3d(2, 3, (2, 3, 4), key=KEY),
        (2, 4, 3, 4),
    ),
    "instance norm": (
        lambda: nn.InstanceNorm1d(4, affine=True),
        lambda: equinox.nn.GroupNorm(4, 4),
        (4, 6),
    ),
}


def cases(table, default):
    """All layers in the thorough run, one of them always."""
    return [pytest.param(name, marks=() if name == default else pytest.mark.thorough) for name in table]


def pair_of(make_torch, make_jax, shape):
    torch.manual_seed(0)
    model = make_torch().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    weights = map_weights(model, port := make_jax())
    assert torch.equal(weights.state_dict(weights.to_jax(model))["weight"], model.weight)
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        return weights.to_jax(model), jnp.asarray(x.numpy()), model(x).numpy(), port


@pytest.mark.parametrize("name", cases(NNX, "up turned"))
def test_flax(name, x64):
    port, x, y, _ = pair_of(*NNX[name])
    out = np.moveaxis(np.asarray(port(jnp.moveaxis(x, 1, -1))), -1, 1)
    assert np.abs(out - y).max() < CLOSE * np.abs(y).max()


@pytest.mark.parametrize("name", cases(EQUINOX, "up2d in groups"))
def test_equinox(name, x64):
    port, x, y, _ = pair_of(*EQUINOX[name])
    assert np.abs(np.asarray(port(x)) - y).max() < CLOSE * np.abs(y).max()


def test_a_fused_linear_of_query_key_and_value(x64):
    fused, attention = nn.ModuleDict({"c_attn": nn.Linear(6, 18), "c_proj": nn.Linear(6, 6)}), nnx.MultiHeadAttention(
        2, 6, decode=False, rngs=R
    )  # fmt: skip
    weights = map_weights(fused, attention)
    assert [pair.source for pair in weights.pairs if pair.path.endswith("kernel")] == [
        "c_attn.weight[0:6]", "c_attn.weight[6:12]", "c_attn.weight[12:18]", "c_proj.weight",
    ]  # fmt: skip


def test_one_projection_in_jax():
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(6, 2)})
    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731
    params = {"qkv": {"kernel": zeros(6, 18), "bias": zeros(18)}, "out": {"kernel": zeros(6, 6), "bias": zeros(6)}}
    weights = map_weights(model, {"attn": params})
    assert [str(pair) for pair in weights.pairs][:1] == [
        "attn/qkv/kernel = attn.in_proj_weight, transpose(1, 0)",
    ]  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
def test_a_simple_cell(bias, x64):
    torch_cell, cell = (
        nn.RNN(3, 4, bias=bias).double(),
        nnx.SimpleCell(3, 4, dtype=jnp.float64, param_dtype=jnp.float64, rngs=R),
    )
    if not bias:
        with pytest.raises(ValueError, match="without a counterpart"):
            map_weights(torch_cell, cell)
        return
    moved = map_weights(torch_cell, cell).to_jax(torch_cell)
    x = torch.randn(1, 3, dtype=torch.float64)
    with torch.no_grad():
        expected = torch_cell(x)[1].numpy()
    _, out = moved(jnp.zeros((1, 4)), jnp.asarray(x.numpy()))
    assert np.abs(np.asarray(out) - expected).max() < CLOSE
