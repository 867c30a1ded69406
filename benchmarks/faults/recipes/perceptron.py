"""A perceptron with cross entropy: SGD with momentum, weight decay and clipping by norm."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from benchmarks.faults.layers import Layers, Params
from benchmarks.faults.recipe import Parts, Recipe, Wrong
from tests.support.planted.numbers import Numbers

NUMBERS = Numbers(lr=0.05, momentum=0.9, decay=0.02, max_norm=0.3)
RNG = np.random.default_rng(0)
EXAMPLES = RNG.standard_normal((40, 6)).astype(np.float32), RNG.integers(0, 3, 40).astype(np.int32)


def parts() -> Parts:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    n = NUMBERS
    optimizer = torch.optim.SGD(model.parameters(), lr=n.lr, momentum=n.momentum, weight_decay=n.decay)

    def clip(parameters) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, n.max_norm)

    return Parts(model, optimizer, nn.CrossEntropyLoss(), clip=clip)


def loss(wrong: Wrong, activation=jnp.tanh, temperature: float = 1.0):
    def loss_fn(params: Params, batch) -> jax.Array:
        layers, (x, y) = Layers(params, wrong), batch
        h = layers.named("1", activation(layers.linear("0", x)))
        logits = layers.linear("2", h) / temperature
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()

    return loss_fn


RECIPE = Recipe("perceptron, SGD", NUMBERS, parts, loss, EXAMPLES, ("0", "1", "2"), classes=3)
