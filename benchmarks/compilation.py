"""How long a step over many leaves takes to trace, lower and compile, beside optax's.

Run it from the repository's root::

    python -m benchmarks.compilation

SGD with momentum, Nesterov and weight decay over 400 leaves of 20 shapes, momentum alone and Adam over 400 equal
vectors of three, and the whole recipe of `benchmarks.recipe` over 2,000 leaves; each as one jitted step with
``optax.apply_updates``. Medians of alternating rounds, in seconds of CPU time, which other work on the machine disturbs
less; three rounds, one for the recipe, with JAX's caches cleared before each.
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


def of_20_shapes(n_leaves: int) -> list[jax.Array]:
    return [jnp.ones((8 + k % 20, 16)) for k in range(n_leaves)]


def of_one_shape(n_leaves: int) -> list[jax.Array]:
    return [jnp.ones(3) for _ in range(n_leaves)]


def seconds(step: Step, init: Callable[[Any], Any], params: list[jax.Array]) -> float:
    state = init(params)
    jax.clear_caches()
    start = time.process_time()
    jax.jit(step).lower(params, state, params).compile()
    return time.process_time() - start


def compare(title: str, params: list[jax.Array], rounds: int, ours: Any, theirs: Any) -> None:
    n_leaves = len(params)
    pairs = [(seconds(*ours, params), seconds(*theirs, params)) for _ in range(rounds)]
    a, b = (median(times) for times in zip(*pairs, strict=True))
    print(f"{title:45s} {n_leaves:5d} leaves: funcsgd {a:5.1f} s, optax {b:5.1f} s, ratio {a / b:.1f}", flush=True)


if __name__ == "__main__":
    rule = of_rule(funcsgd.sgd(0.1, 0.9, nesterov=True, weight_decay=1e-4))
    peer = of_rule(optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, 0.9, nesterov=True)))
    compare("momentum, Nesterov, weight decay", of_20_shapes(400), 3, rule, peer)
    rule, peer = of_rule(funcsgd.sgd(0.1, 0.9)), of_rule(optax.sgd(0.1, 0.9))
    compare("momentum, equal vectors", of_one_shape(400), 3, rule, peer)
    rule, peer = of_rule(funcsgd.adam()), of_rule(optax.adam(1e-3))
    compare("adam, equal vectors", of_one_shape(400), 3, rule, peer)
    recipe = our_step(funcsgd.clip_grad_norm(MAX_NORM))
    compare("the whole recipe", of_20_shapes(2000), 1, recipe, optax_step())
