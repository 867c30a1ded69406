"""A tiny language model: an embedding whose table is the last layer's weight too, ``nn.MultiheadAttention`` between."""

import math

import jax
import jax.numpy as jnp
import torch
from jax.ad_checkpoint import checkpoint_name
from torch import nn

from tests.support.ports.common import Batch, Family, LossFn, Params, TorchBatch
from tests.support.ports.layers import Layers

HEADS = 2
TOKENS = 12
VOCABULARY = 50


class Network(nn.Module):
    """Embedding, causal attention, norm, the embedding's table again."""

    def __init__(self, width: int):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.3)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.triu(torch.ones(TOKENS, TOKENS, dtype=torch.bool), 1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        attended, _ = self.attention(x, x, x, need_weights=False, attn_mask=self.mask)
        return self.head(self.norm(x + attended))


def loss_over_tokens(criterion: nn.Module, model: nn.Module, batch: TorchBatch) -> torch.Tensor:
    """The criterion wants the classes in a matrix."""
    tokens, target = batch
    return criterion(model(tokens).flatten(0, 1), target.flatten())


def make_data(generator: torch.Generator, samples: int, blank: float) -> TorchBatch:
    """Random tokens; the target is the next one. Blank sequences are all token 0."""
    text = torch.randint(0, VOCABULARY, (samples, TOKENS + 1), generator=generator)
    text[: int(blank * samples)] = 0
    return text[:, :-1].contiguous(), text[:, 1:].contiguous()


def write(layers: Layers) -> LossFn:
    """The port; the tied table is one parameter, under the first of torch's two names for it."""

    def loss_fn(params: Params, batch: Batch) -> jax.Array:
        tokens, target = batch
        table = params["embedding.weight"]
        x = checkpoint_name(table[tokens], "embedding")
        qkv = layers.linear(
            "attention.in_proj", x, params["attention.in_proj_weight"], params["attention.in_proj_bias"]
        )
        q, k, v = (part.reshape(*x.shape[:2], HEADS, -1) for part in jnp.split(qkv, 3, axis=-1))
        scores = jnp.einsum("bqhd,bkhd->bhqk", *layers.cast(q, k)) / math.sqrt(x.shape[-1] // HEADS)
        visible = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool), 0 if not layers.swapped else 1)
        weights = layers.softmax("attention", jnp.where(visible, scores, -jnp.inf))
        h = jnp.einsum("bhqk,bkhd->bqhd", *layers.cast(weights, v)).reshape(x.shape)
        h = layers.linear("attention", h, params["attention.out_proj.weight"], params["attention.out_proj.bias"])
        h = layers.layer_norm("norm", x + h, params["norm.weight"], params["norm.bias"])
        logits = layers.named("head", lambda h, w: jnp.einsum("btd,vd->btv", *layers.cast(h, w)), h, table)
        return layers.cross_entropy(logits, target)

    return loss_fn


FAULTS = {
    "epsilon": {"epsilon": 1.01},
    "label smoothing": {"smoothing": 1e-2},
    "logits scaled": {"logits": 1.001},
    "loss scaled": {"loss": 1.001},
    "kernel not transposed": {"transposed": "attention"},
    "mask sees the next token": {"swapped": True},
}
IMPRECISE = {
    "float16 softmax": {"narrow": ("softmax", jnp.float16)},
    "bfloat16 softmax": {"narrow": ("softmax", jnp.bfloat16)},
    "float16 head": {"narrow": ("head", jnp.float16)},
    "bfloat16 norm": {"narrow": ("norm", jnp.bfloat16)},
    "tf32": {"tf32": True},
    "one-pass variance": {"one_pass": True},
    "bare softmax": {"bare_softmax": True},
}
LANGUAGE_MODEL = Family(
    "language model", Network, make_data, write, FAULTS, IMPRECISE, 16, 64, 8192, form=loss_over_tokens
)
