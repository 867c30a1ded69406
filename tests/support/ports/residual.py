"""A residual block with GroupNorm behind a stem with max-pooling, as a class with a forward of its own."""

import jax
import jax.numpy as jnp
import torch
from torch import nn

from tests.support.ports.common import Batch, Family, LossFn, Params, TorchBatch
from tests.support.ports.layers import Layers

GROUPS = 4


class Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm1 = nn.GroupNorm(GROUPS, width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.relu1(self.norm1(self.conv1(x)))
        return self.relu2(self.norm2(self.conv2(h)) + x)


class Network(nn.Module):
    """Stem, block, average, classes."""

    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.block = Block(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.pool(self.relu(self.norm(self.stem(x))))
        return self.head(self.block(h).mean((2, 3)))


def make_data(generator: torch.Generator, samples: int, blank: float) -> TorchBatch:
    """Images of 16 x 16 and ten classes."""
    x = torch.randn(samples, 3, 16, 16, generator=generator)
    x[: int(blank * samples)] = 0.0
    return x, torch.randint(0, 10, (samples,), generator=generator)


def write(layers: Layers) -> LossFn:
    """The port."""

    def loss_fn(params: Params, batch: Batch) -> jax.Array:
        def norm(name: str, h: jax.Array) -> jax.Array:
            return layers.group_norm(name, h, params[f"{name}.weight"], params[f"{name}.bias"], GROUPS)

        first, second = ("conv2", "conv1") if layers.swapped else ("conv1", "conv2")
        x, target = batch
        h = layers.relu("relu", norm("norm", layers.convolution("stem", x, params["stem.weight"])))
        x = layers.max_pool("pool", h)
        h = layers.convolution("block.conv1", x, params[f"block.{first}.weight"])
        h = layers.relu("block.relu1", norm("block.norm1", h))
        h = layers.convolution("block.conv2", h, params[f"block.{second}.weight"])
        h = layers.relu("block.relu2", norm("block.norm2", h) + x)
        logits = layers.linear("head", h.mean((2, 3)), params["head.weight"], params["head.bias"])
        return layers.cross_entropy(logits, target)

    return loss_fn


FAULTS = {
    "epsilon": {"epsilon": 1.01},
    "label smoothing": {"smoothing": 1e-2},
    "logits scaled": {"logits": 1.001},
    "loss scaled": {"loss": 1.001},
    "derivative at zero": {"maximum": True},
    "kernel orientation": {"transposed": "block.conv1"},
    "layers swapped": {"swapped": True},
    "padding": {"padding": ((0, 2), (0, 2))},
}
IMPRECISE = {
    "float16 softmax": {"narrow": ("softmax", jnp.float16)},
    "bfloat16 softmax": {"narrow": ("softmax", jnp.bfloat16)},
    "float16 layer": {"narrow": ("block.conv1", jnp.float16)},
    "bfloat16 norm": {"narrow": ("block.norm1", jnp.bfloat16)},
    "tf32": {"tf32": True},
    "one-pass variance": {"one_pass": True},
    "bare softmax": {"bare_softmax": True},
}
RESIDUAL = Family("residual", Network, make_data, write, FAULTS, IMPRECISE, width=8, wide=32, large_batch=512)
