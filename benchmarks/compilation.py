"""How long a step over many leaves takes to trace, lower and compile, beside optax's.

Run it from the repository's root::

    python -m benchmarks.compilation

SGD with momentum, Nesterov and weight decay over 400 leaves of 20 shapes, and the whole recipe of `benchmarks.recipe`
over 2,000 leaves; each as one jitted step with ``optax.apply_updates``. Medians in seconds of alternating rounds, three
of the first and one of the second, with JAX's caches cleared before each.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import optax

import funcsgd
from benchmarks.recipe import MAX_NORM, Step, optax_step, our_step


def of_rule(tx: optax.GradientTransformation) -> tuple[Step, Callable[[Any], Any]]:
    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return step, tx.init


def seconds(step: Step, init: Callable[[Any], Any], n_leaves: int) -> float:
    params = [jnp.ones((8 + k % 20, 16)) for k in range(n_leaves)]
    state = init(params)
    jax.clear_caches()
    start = time.perf_counter()
    jax.jit(step).lower(params, state, params).compile()
    return time.perf_counter() - start


def compare(title: str, n_leaves: int, rounds: int, ours: Any, theirs: Any) -> None:
    pairs = [(seconds(*ours, n_leaves), seconds(*theirs, n_leaves)) for _ in range(rounds)]
    a, b = (median(times) for times in zip(*pairs, strict=True))
    print(f"{title:45s} {n_leaves:5d} leaves: funcsgd {a:5.1f} s, optax {b:5.1f} s, ratio {a / b:.1f}", flush=True)


if __name__ == "__main__":
    rule = of_rule(funcsgd.sgd(0.1, 0.9, nesterov=True, weight_decay=1e-4))
    peer = of_rule(optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, 0.9, nesterov=True)))
    compare("momentum, Nesterov, weight decay", 400, 3, rule, peer)
    compare("the whole recipe", 2000, 1, our_step(funcsgd.clip_grad_norm(MAX_NORM)), optax_step())
