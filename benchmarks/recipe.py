"""One step of a whole recipe over 25.6 million float32 parameters: clipping, SGD, a schedule and an average.

Run it from the repository's root, on a machine with nothing else to do::

    python -m benchmarks.recipe                     leaves 1, 161, 2000
    taskset -c 0,1 python -m benchmarks.recipe      on two cores

The recipe: gradients clipped to a total norm of 1, momentum 0.9, weight decay 1e-4, cosine annealing from 0.1 stepped
once a step, an exponential average of the parameters. torch takes its ``foreach`` path, ``CosineAnnealingLR`` and
``AveragedModel`` with ``get_ema_multi_avg_fn``; optax its ``clip_by_global_norm``, ``cosine_decay_schedule`` and
``incremental_update``. The JAX steps are jitted together with ``optax.apply_updates``, everything donated but the
gradients.

- ``norm as a maximum`` is our recipe with ``norm_type="inf"``, whose bits no order of summation touches: the
  difference to ``funcsgd`` is the price of adding up squares in torch's order, one chain on one core.
- ``norm given`` is our recipe with a factor that is there already in place of `clip_grad_norm`: all but the norm.

Columns as in `benchmarks.update`. Bytes a parameter: 4 for the norm, which reads g; 16 for the buffer, which reads p,
g, b and writes b; 12 for the parameter, which reads p, b and writes p; 12 for the average, which reads a, p and writes
a: 44.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import funcsgd
from benchmarks.bandwidth import print_table, stream
from benchmarks.leaves import for_leaves
from benchmarks.timing import alternating_medians
from funcsgd import averages, schedules

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, DECAY, MAX_NORM, T_MAX = 0.1, 0.9, 1e-4, 0.999, 1.0, 1000
BYTES = {"funcsgd": 44, "norm as a maximum": 44, "norm given": 40, "optax": 44}

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def our_step(clip: optax.GradientTransformation) -> tuple[Step, Callable[[Any], Any]]:
    schedule = schedules.tabulate(schedules.cosine_annealing_lr(LEARNING_RATE, T_MAX), T_MAX)
    rule = funcsgd.sgd(schedule, MOMENTUM, weight_decay=WEIGHT_DECAY)
    tx = averages.with_average(optax.chain(clip, rule), averages.ema(DECAY, lerp=True))

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return step, tx.init


def optax_step() -> tuple[Step, Callable[[Any], Any]]:
    tx = optax.chain(
        optax.clip_by_global_norm(MAX_NORM),
        optax.add_decayed_weights(WEIGHT_DECAY),
        optax.sgd(optax.cosine_decay_schedule(LEARNING_RATE, T_MAX), MOMENTUM),
    )

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        inner, average = state
        updates, inner = tx.update(grads, inner, params)
        params = optax.apply_updates(params, updates)
        return params, (inner, optax.incremental_update(params, average, 1 - DECAY))

    return step, lambda params: (tx.init(params), jax.tree.map(jnp.copy, params))


def given_factor() -> optax.GradientTransformation:
    """What is left of clipping once the norm is known: a product with a factor in memory."""
    return optax.GradientTransformation(
        lambda params: jnp.float32(0.5), lambda g, state, params=None: (jax.tree.map(lambda x: x * state, g), state)
    )


def jax_contender(step: Step, init: Callable[[Any], Any], values: list[np.ndarray]) -> Callable[[], object]:
    params, grads = ([jnp.array(v) for v in values] for _ in range(2))
    state = init(params)
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, grads).compile()

    def call() -> None:
        nonlocal params, state
        params, state = jax.block_until_ready(compiled(params, state, grads))

    return call


class _Parameters(torch.nn.Module):
    def __init__(self, values: list[np.ndarray]) -> None:
        super().__init__()
        self.values = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(v)) for v in values])


def torch_contender(values: list[np.ndarray]) -> Callable[[], object]:
    model = _Parameters(values)
    for param, value in zip(model.parameters(), values, strict=True):
        param.grad = torch.tensor(value)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, foreach=True
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_MAX)
    multi_avg_fn = torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=multi_avg_fn)

    def call() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM, foreach=True)
        optimizer.step()
        scheduler.step()
        average.update_parameters(model)

    return call


def compare(values: list[np.ndarray], rounds: int) -> None:
    """Time all contenders over these leaves and print the table."""
    steps = {
        "funcsgd": our_step(funcsgd.clip_grad_norm(MAX_NORM)),
        "norm as a maximum": our_step(funcsgd.clip_grad_norm(MAX_NORM, "inf")),
        "norm given": our_step(given_factor()),
        "optax": optax_step(),
    }
    contenders = {name: jax_contender(*step, values) for name, step in steps.items()}
    contenders |= {"torch foreach": torch_contender(values), "bandwidth": stream()}
    seconds = alternating_medians(contenders, rounds)
    print_table(seconds, BYTES, sum(v.size for v in values))


if __name__ == "__main__":
    for_leaves("one step of a whole recipe: funcsgd beside optax and torch", compare, rounds=15)
