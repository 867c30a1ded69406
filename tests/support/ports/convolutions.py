"""BatchNorm on the raw image, convolutions with BatchNorm and ReLU, an average over the image, as one sequence."""

import jax
import jax.numpy as jnp
import torch
from torch import nn

from tests.support.ports.common import Batch, Family, LossFn, Params, TorchBatch
from tests.support.ports.layers import Layers


def make_model(width: int) -> nn.Module:
    """Three convolutions, of `width` and twice as many channels."""
    return nn.Sequential(
        nn.BatchNorm2d(3),
        nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )  # fmt: skip


def make_data(generator: torch.Generator, samples: int, blank: float) -> TorchBatch:
    """Images of 16 x 16 and ten classes."""
    x = torch.rand(samples, 3, 16, 16, generator=generator)
    x[: int(blank * samples)] = 0.0
    return x, torch.randint(0, 10, (samples,), generator=generator)


def write(layers: Layers) -> LossFn:
    """The port."""

    def loss_fn(params: Params, batch: Batch) -> jax.Array:
        h, target = batch
        h = layers.batch_norm("0", h, params["0.weight"], params["0.bias"])
        for name, stride in ((1, 1), (4, 2), (7, 2)):
            h = layers.convolution(str(name), h, params[f"{name}.weight"], stride)
            norm = params[f"{name + 1}.weight"], params[f"{name + 1}.bias"]
            if layers.swapped and name == 7:
                h = layers.batch_norm(str(name + 1), layers.relu(str(name + 2), h), *norm)
            else:
                h = layers.relu(str(name + 2), layers.batch_norm(str(name + 1), h, *norm))
        logits = layers.linear("12", h.mean((2, 3)), params["12.weight"], params["12.bias"])
        return layers.cross_entropy(logits, target)

    return loss_fn


FAULTS = {
    "epsilon": {"epsilon": 1.01},
    "label smoothing": {"smoothing": 1e-2},
    "logits scaled": {"logits": 1.001},
    "loss scaled": {"loss": 1.001},
    "kernel orientation": {"transposed": "4"},
    "layers swapped": {"swapped": True},
    "padding": {"padding": "SAME"},
}
IMPRECISE = {
    "float16 softmax": {"narrow": ("softmax", jnp.float16)},
    "bfloat16 softmax": {"narrow": ("softmax", jnp.bfloat16)},
    "float16 layer": {"narrow": ("4", jnp.float16)},
    "bfloat16 layer": {"narrow": ("4", jnp.bfloat16)},
    "tf32": {"tf32": True},
    "one-pass variance": {"one_pass": True},
    "bare softmax": {"bare_softmax": True},
}
CONVOLUTIONS = Family(
    "convolutions", make_model, make_data, write, FAULTS, IMPRECISE, width=8, wide=32, large_batch=512
)
