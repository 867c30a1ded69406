"""A net with LayerNorm and smoothed labels: AdamW without decay of vectors, warm-up and cosine, clipping by norm."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from benchmarks.faults.layers import Layers, Params
from benchmarks.faults.recipe import Parts, Recipe, Wrong
from tests.support.planted.numbers import Numbers

SMOOTHING, WARM, STEPS = 0.1, 3, 9


def factor(step: int) -> float:
    """The learning rate as a share of the largest."""
    done = (step - WARM) / (STEPS - WARM)
    return (step + 1) / (WARM + 1) if step < WARM else 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2


LR = 0.01
NUMBERS = Numbers(
    lr=LR * factor(0), betas=(0.9, 0.98), eps=1e-6, decay=0.1, decoupled=True, spared=True, max_norm=0.5,
    rates=tuple(LR * factor(t) for t in range(STEPS)),
)  # fmt: skip
RNG = np.random.default_rng(2)
EXAMPLES = RNG.standard_normal((48, 6)).astype(np.float32), RNG.integers(0, 4, 48).astype(np.int32)


def parts() -> Parts:
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.SiLU(), nn.Linear(8, 4))
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": NUMBERS.decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=NUMBERS.betas, eps=NUMBERS.eps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    def clip(parameters) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, NUMBERS.max_norm)

    return Parts(model, optimizer, nn.CrossEntropyLoss(label_smoothing=SMOOTHING), ((scheduler, False),), clip=clip)


def loss(wrong: Wrong, eps: float = 1e-5, smoothing: float = SMOOTHING):
    def loss_fn(params: Params, batch) -> jax.Array:
        layers, (x, y) = Layers(params, wrong), batch
        h = layers.layer_norm("1", layers.linear("0", x), eps)
        log_p = jax.nn.log_softmax(layers.linear("3", layers.named("2", jax.nn.silu(h))))
        own = jnp.take_along_axis(log_p, y[:, None], 1)[:, 0]
        return -((1 - smoothing) * own + smoothing * log_p.mean(-1)).mean()

    return loss_fn


FORWARD = {"eps of the norm": ({"eps": 1e-6}, "1", ("constant-of-the-function",))}
RECIPE = Recipe("LayerNorm, AdamW", NUMBERS, parts, loss, EXAMPLES, ("0", "1", "2", "3"), classes=4, forward=FORWARD)
