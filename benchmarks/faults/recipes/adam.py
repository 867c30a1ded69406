"""A regression with GELU: Adam with coupled weight decay and clipping by norm."""

import jax
import numpy as np
import torch
from torch import nn

from benchmarks.faults.layers import Layers, Params
from benchmarks.faults.recipe import Parts, Recipe, Wrong
from tests.support.planted.numbers import Numbers

NUMBERS = Numbers(lr=0.02, betas=(0.8, 0.95), eps=0.03, decay=0.05, max_norm=0.4)
RNG = np.random.default_rng(1)
EXAMPLES = RNG.standard_normal((48, 5)).astype(np.float32), RNG.standard_normal((48, 3)).astype(np.float32)


def parts() -> Parts:
    model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3))
    n = NUMBERS
    optimizer = torch.optim.Adam(model.parameters(), lr=n.lr, betas=n.betas, eps=n.eps, weight_decay=n.decay)

    def clip(parameters) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, n.max_norm)

    return Parts(model, optimizer, nn.MSELoss(), clip=clip)


def loss(wrong: Wrong, approximate: bool = False):
    def loss_fn(params: Params, batch) -> jax.Array:
        layers, (x, y) = Layers(params, wrong), batch
        h = layers.named("1", jax.nn.gelu(layers.linear("0", x), approximate=approximate))
        return ((layers.linear("2", h) - y) ** 2).mean()

    return loss_fn


RECIPE = Recipe("regression, Adam", NUMBERS, parts, loss, EXAMPLES, ("0", "1", "2"), targets=3)
