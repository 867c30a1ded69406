"""Several labels for each example: SGD with dampening, clipping by value, a falling rate, an average of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.faults.layers import Layers, Params
from benchmarks.faults.recipe import Parts, Recipe, Wrong
from tests.support.planted.numbers import Numbers

NUMBERS = Numbers(
    lr=0.1, momentum=0.8, dampening=0.3, decay=0.03, clip_value=0.05, ema=0.9,
    rates=tuple(0.1 * 0.8**t for t in range(9)),
)  # fmt: skip
RNG = np.random.default_rng(4)
EXAMPLES = (
    RNG.standard_normal((48, 6)).astype(np.float32),
    RNG.integers(0, 2, (48, 3)).astype(np.float32),
)


def parts() -> Parts:
    model = nn.Sequential(nn.Linear(6, 7), nn.Softplus(), nn.Linear(7, 3))
    n = NUMBERS
    optimizer = torch.optim.SGD(
        model.parameters(), lr=n.lr, momentum=n.momentum, dampening=n.dampening, weight_decay=n.decay
    )
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(n.ema))

    def clip(parameters) -> None:
        torch.nn.utils.clip_grad_value_(parameters, n.clip_value)

    return Parts(model, optimizer, nn.BCEWithLogitsLoss(), ((scheduler, False),), average, clip)


def loss(wrong: Wrong):
    def loss_fn(params: Params, batch) -> jax.Array:
        layers, (x, y) = Layers(params, wrong), batch
        z = layers.linear("2", layers.named("1", jax.nn.softplus(layers.linear("0", x))))
        return (jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z)))).mean()

    return loss_fn


RECIPE = Recipe("labels, SGD and EMA", NUMBERS, parts, loss, EXAMPLES, ("0", "1", "2"), targets=3)
