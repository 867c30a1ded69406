"""A perceptron with ReLU: ``nn.Sequential`` of four linear layers, biases that start at zero."""

import jax
import jax.numpy as jnp
import torch
from torch import nn

from tests.support.ports.common import Batch, Family, LossFn, Params, TorchBatch
from tests.support.ports.layers import Layers


def make_model(width: int) -> nn.Module:
    """Three hidden layers of `width`."""
    model = nn.Sequential(
        nn.Linear(20, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 5),
    )  # fmt: skip
    for layer in model[::2]:
        nn.init.zeros_(layer.bias)
    return model


def make_data(generator: torch.Generator, samples: int, blank: float) -> TorchBatch:
    """Normal inputs and five classes."""
    x = torch.randn(samples, 20, generator=generator)
    x[: int(blank * samples)] = 0.0
    return x, torch.randint(0, 5, (samples,), generator=generator)


def write(layers: Layers) -> LossFn:
    """The port."""

    def loss_fn(params: Params, batch: Batch) -> jax.Array:
        h, target = batch
        order = ("0", "4", "2") if layers.swapped else ("0", "2", "4")
        for name, source in zip(("0", "2", "4"), order, strict=True):
            h = layers.linear(name, h, params[f"{source}.weight"], params[f"{source}.bias"])
            h = layers.relu(str(int(name) + 1), h)
        return layers.cross_entropy(layers.linear("6", h, params["6.weight"], params["6.bias"]), target)

    return loss_fn


FAULTS = {
    "label smoothing": {"smoothing": 1e-2},
    "logits scaled": {"logits": 1.001},
    "loss scaled": {"loss": 1.001},
    "derivative at zero": {"maximum": True},
    "layers swapped": {"swapped": True},
    "kernel not transposed": {"transposed": "2"},
}
IMPRECISE = {
    "float16 softmax": {"narrow": ("softmax", jnp.float16)},
    "bfloat16 softmax": {"narrow": ("softmax", jnp.bfloat16)},
    "float16 layer": {"narrow": ("2", jnp.float16)},
    "bfloat16 layer": {"narrow": ("2", jnp.bfloat16)},
    "tf32": {"tf32": True},
    "bare softmax": {"bare_softmax": True},
}
PERCEPTRON = Family("perceptron", make_model, make_data, write, FAULTS, IMPRECISE, width=20, wide=256, large_batch=2048)
