"""The runs of the scenarios: small ones, each of another optimizer or net."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from torch import nn

from benchmarks.faults.layers import Layers, Params
from benchmarks.faults.recipe import Parts, Recipe, Wrong
from benchmarks.faults.recipes import adamw, convolutions
from tests.support.planted import torch_side
from tests.support.planted.numbers import Numbers

RNG = np.random.default_rng(5)
EXAMPLES = RNG.standard_normal((32, 6)).astype(np.float32), RNG.integers(0, 3, 32).astype(np.int32)
IMAGES = RNG.standard_normal((32, 3, 6, 6)).astype(np.float32), RNG.integers(0, 3, 32).astype(np.int32)


@functools.cache
def perceptron(n: Numbers) -> Recipe:
    """A perceptron under some optimizer."""

    def parts() -> Parts:
        model = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3))
        optimizer = torch_side.optimizer_of(n, model)
        scheduler = torch_side.scheduler_of(n, optimizer)
        return Parts(
            model, optimizer, nn.CrossEntropyLoss(), [(scheduler, bool(n.epoch))] if scheduler else [],
            torch_side.average_of(n, model), lambda parameters: torch_side.clip(n, model),
        )  # fmt: skip

    return Recipe("perceptron", n, parts, perceptron_loss, EXAMPLES, ("0", "1", "2"), classes=3)


def perceptron_loss(wrong: Wrong, approximate: bool = False):
    def loss_fn(params: Params, batch) -> jax.Array:
        layers, (x, y) = Layers(params, wrong), batch
        h = layers.named("1", jax.nn.gelu(layers.linear("0", x), approximate=approximate))
        log_p = jax.nn.log_softmax(layers.linear("2", h))
        return -jnp.take_along_axis(log_p, y[:, None], 1).mean()

    return loss_fn


@functools.cache
def strided() -> Recipe:
    """A convolution with stride 2, as the first of many image models has it."""
    n = Numbers(lr=0.05, momentum=0.9)

    def parts() -> Parts:
        model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
        return Parts(model, torch_side.optimizer_of(n, model), nn.CrossEntropyLoss())

    return Recipe("strided", n, parts, strided_loss, IMAGES, ("0", "1", "2", "3"), classes=3)


def strided_loss(wrong: Wrong, padding="torch"):
    def loss_fn(params: Params, batch) -> jax.Array:
        layers, (x, y) = Layers(params, wrong), batch
        z = jax.lax.conv_general_dilated(
            x, params["0.weight"], (2, 2), [(1, 1)] * 2 if padding == "torch" else padding,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
        )  # fmt: skip
        h = layers.named("1", jax.nn.relu(layers.named("0", z + params["0.bias"][:, None, None])))
        log_p = jax.nn.log_softmax(layers.linear("3", layers.named("2", h.reshape(len(x), -1))))
        return -jnp.take_along_axis(log_p, y[:, None], 1).mean()

    return loss_fn


def batch_norm() -> Recipe:
    """A convolution with BatchNorm."""
    return convolutions.RECIPE


def layer_norm() -> Recipe:
    """A net with LayerNorm."""
    return adamw.RECIPE
