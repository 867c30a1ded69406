"""AdamW written by hand, with epsilon inside the square root."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tests.support.small_run import DATA, loss_fn


class State(NamedTuple):
    count: jax.Array
    exp_avg: Any
    exp_avg_sq: Any


def adamw(learning_rate, b1=0.9, b2=0.999, eps=1e-4, weight_decay=0.01):
    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return State(jnp.zeros([], jnp.int32), zeros, zeros)

    def update(grads, state, params):
        t = state.count + 1
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.exp_avg, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.exp_avg_sq, grads)

        def leaf(m, v, p):
            m_hat = m / (1 - b1**t)
            v_hat = v / (1 - b2**t)
            return -learning_rate * (m_hat / jnp.sqrt(v_hat + eps) + weight_decay * p)

        return jax.tree.map(leaf, m, v, params), State(t, m, v)

    return optax.GradientTransformation(init, update)


def port():
    return {"tx": adamw(0.01), "loss_fn": loss_fn, "data": DATA}
