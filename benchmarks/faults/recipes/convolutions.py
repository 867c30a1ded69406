"""A convolution with BatchNorm: SGD with Nesterov's momentum and weight decay, the rate halved with each epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from benchmarks.faults.layers import Layers, Params
from benchmarks.faults.recipe import Parts, Recipe, Wrong
from tests.support.planted.numbers import Numbers

NUMBERS = Numbers(
    lr=0.05, momentum=0.9, nesterov=True, decay=0.01, rates=tuple(0.05 * 0.5 ** (t // 3) for t in range(9)), epoch=3
)
RNG = np.random.default_rng(3)
EXAMPLES = RNG.standard_normal((48, 2, 4, 4)).astype(np.float32), RNG.integers(0, 3, 48).astype(np.int32)


def parts() -> Parts:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    n = NUMBERS
    optimizer = torch.optim.SGD(model.parameters(), lr=n.lr, momentum=n.momentum, nesterov=True, weight_decay=n.decay)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    return Parts(model, optimizer, nn.CrossEntropyLoss(), ((scheduler, True),))


def loss(wrong: Wrong, eps: float = 1e-5, keep: bool = False, **fault: float):
    def loss_fn(params: Params, batch, state: Params) -> tuple[jax.Array, Params]:
        layers, (x, y) = Layers(params, wrong), batch
        h, new = layers.batch_norm("1", layers.convolution("0", x, 1), state, eps, **fault)
        h = layers.named("3", layers.named("2", jax.nn.relu(h)).reshape(len(x), -1))
        log_p = jax.nn.log_softmax(layers.linear("4", h))
        return -jnp.take_along_axis(log_p, y[:, None], 1).mean(), state if keep else new

    return loss_fn


FORWARD = {"eps of the norm": ({"eps": 1e-3}, "1", ("constant-of-the-function",))}
RECIPE = Recipe(
    "convolutions, SGD", NUMBERS, parts, loss, EXAMPLES, ("0", "1", "2", "3", "4"), classes=3, buffers=True,
    forward=FORWARD,
)  # fmt: skip
