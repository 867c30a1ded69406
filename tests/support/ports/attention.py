"""A transformer block with LayerNorm and GELU that classifies sequences."""

import math

import jax
import jax.numpy as jnp
import torch
from torch import nn

from tests.support.ports.common import Batch, Family, LossFn, Params, TorchBatch
from tests.support.ports.layers import Layers

HEADS = 4
TOKENS = 16


class Network(nn.Module):
    """Tokens in, one block with its norms in front, mean over the tokens, classes."""

    def __init__(self, width: int):
        super().__init__()
        self.norm0 = nn.LayerNorm(12)
        self.embed = nn.Linear(12, width)
        self.position = nn.Parameter(0.02 * torch.randn(TOKENS, width))
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        h = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(h.transpose(1, 2).flatten(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(self.norm0(x)) + self.position
        x = x + self.attend(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.head(self.norm(x).mean(1))


def make_data(generator: torch.Generator, samples: int, blank: float) -> TorchBatch:
    """Sequences of 16 vectors and ten classes."""
    x = torch.randn(samples, TOKENS, 12, generator=generator)
    x[: int(blank * samples)] = 0.0
    return x, torch.randint(0, 10, (samples,), generator=generator)


def write(layers: Layers) -> LossFn:
    """The port."""

    def loss_fn(params: Params, batch: Batch) -> jax.Array:
        def linear(name: str, x: jax.Array) -> jax.Array:
            return layers.linear(name, x, params[f"{name}.weight"], params[f"{name}.bias"])

        def norm(name: str, x: jax.Array) -> jax.Array:
            source = {"norm1": "norm2", "norm2": "norm1"}.get(name, name) if layers.swapped else name
            return layers.layer_norm(name, x, params[f"{source}.weight"], params[f"{source}.bias"])

        def attend(x: jax.Array) -> jax.Array:
            batch, tokens, width = x.shape
            q, k, v = (part.reshape(batch, tokens, HEADS, -1) for part in jnp.split(linear("qkv", x), 3, axis=-1))
            scores = jnp.einsum("bqhd,bkhd->bhqk", *layers.cast(q, k)) / math.sqrt(width // HEADS)
            h = jnp.einsum("bhqk,bkhd->bqhd", *layers.cast(layers.softmax("attention", scores), v))
            return linear("out", h.reshape(batch, tokens, width))

        x, target = batch
        x = linear("embed", norm("norm0", x)) + params["position"]
        x = x + attend(norm("norm1", x))
        h = layers.gelu("mlp.1", linear("mlp.0", norm("norm2", x)))
        x = x + linear("mlp.2", h)
        return layers.cross_entropy(linear("head", norm("norm", x).mean(1)), target)

    return loss_fn


FAULTS = {
    "epsilon": {"epsilon": 1.01},
    "label smoothing": {"smoothing": 1e-2},
    "logits scaled": {"logits": 1.001},
    "loss scaled": {"loss": 1.001},
    "kernel not transposed": {"transposed": "out"},
    "gelu by tanh": {"tanh": True},
    "layers swapped": {"swapped": True},
}
IMPRECISE = {
    "float16 softmax": {"narrow": ("softmax", jnp.float16)},
    "bfloat16 attention": {"narrow": ("attention", jnp.bfloat16)},
    "float16 attention": {"narrow": ("attention", jnp.float16)},
    "bfloat16 norm": {"narrow": ("norm2", jnp.bfloat16)},
    "float16 gelu": {"narrow": ("mlp.1", jnp.float16)},
    "tf32": {"tf32": True},
    "one-pass variance": {"one_pass": True},
    "bare softmax": {"bare_softmax": True},
}
ATTENTION = Family("attention", Network, make_data, write, FAULTS, IMPRECISE, width=16, wide=64, large_batch=8192)
