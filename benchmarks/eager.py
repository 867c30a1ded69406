"""What one update costs outside of ``jit``, beside optax's.

Run it from the repository's root::

    python -m benchmarks.eager
    python -m benchmarks.eager --leaves 1 10 100

Leaves of 64 float32 numbers, ``tx.update`` without ``optax.apply_updates``; medians of alternating calls, in
milliseconds. The calls are shorter than what else a busy machine does in between: read the ratios, of several runs.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import funcsgd
from benchmarks.timing import alternating_medians
from funcsgd.schedules import ExponentialLR

RATE = 0.1
HALVED = optax.exponential_decay(RATE, 5, 0.5, staircase=True)
DECAYED = optax.add_decayed_weights(1e-4)
PAIRS = {
    "plain": (funcsgd.sgd(RATE), optax.sgd(RATE)),
    "plain, no momentum stage": (funcsgd.sgd(RATE, None), optax.sgd(RATE)),
    "momentum": (funcsgd.sgd(RATE, 0.9), optax.sgd(RATE, 0.9)),
    "Nesterov, weight decay": (
        funcsgd.sgd(RATE, 0.9, nesterov=True, weight_decay=1e-4),
        optax.chain(DECAYED, optax.sgd(RATE, 0.9, nesterov=True)),
    ),
    "a scheduler in the state": (
        funcsgd.sgd(funcsgd.scale_by_schedulers([ExponentialLR(RATE, gamma=0.5)], n=100, every=5), 0.9),
        optax.sgd(HALVED, 0.9),
    ),
    "clipping by the norm": (funcsgd.clip_grad_norm(1.0), optax.clip_by_global_norm(1.0)),
    "adam": (funcsgd.adam(), optax.adam(1e-3)),
}


def update(tx: optax.GradientTransformation, params: Any) -> Callable[[], None]:
    state = tx.init(params)

    def call() -> None:
        jax.block_until_ready(tx.update(params, state, params))

    return call


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leaves", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--rounds", type=int, default=101)
    arguments = parser.parse_args()
    for n_leaves in arguments.leaves:
        params = [jnp.full(64, 0.1)] * n_leaves
        print(f"\n{n_leaves} leaves of 64")
        for name, (ours, theirs) in PAIRS.items():
            contenders = {"funcsgd": update(ours, params), "optax": update(theirs, params)}
            a, b = (1e3 * seconds for seconds in alternating_medians(contenders, arguments.rounds).values())
            print(f"{name:25s} funcsgd {a:6.3f}, optax {b:6.3f}, ratio {a / b:4.2f}", flush=True)
