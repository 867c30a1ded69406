"""Lion's rule."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from funcsgd import observe, scale_by_learning_rate
from funcsgd.arithmetic import lerp, rounded, written
from funcsgd.hyperparameters import value_at
from funcsgd.per_leaf import per_leaf, zeros_like


class LionState(NamedTuple):
    count: jax.Array
    started: tuple[jax.Array, ...]
    exp_avg: Any


def lion(learning_rate=1e-2, betas=(0.9, 0.99), maximize=False):
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(),
        signs_of_averages(betas),
        observe("direction"),
        scale_by_learning_rate(learning_rate),
    )


@per_leaf
def _leaf(g, exp_avg, *, weight1, weight2):
    g = rounded(g)
    return jnp.sign(lerp(exp_avg, g, weight1)), written(lerp(exp_avg, g, weight2))


def signs_of_averages(betas):
    def init(params):
        leaves = jax.tree.leaves(params)
        return LionState(jnp.zeros((), jnp.int32), tuple(jnp.array(False) for _ in leaves), zeros_like(params))

    def update(updates, state, params=None, **extra_args):
        tree = jax.tree.structure(state.exp_avg)
        grads, averages = tree.flatten_up_to(updates), jax.tree.leaves(state.exp_avg)
        weights = [1 - value_at(beta, state.count) for beta in betas]
        made = [
            (g, average) if g is None else _leaf(g, average, weight1=weights[0], weight2=weights[1])
            for g, average in zip(grads, averages, strict=True)
        ]
        outs, averages = ([row[i] for row in made] for i in range(2))
        started = tuple(was | (g is not None) for was, g in zip(state.started, grads, strict=True))
        new = LionState(optax.safe_increment(state.count), started, tree.unflatten(averages))
        return tree.unflatten(outs), new

    return optax.GradientTransformationExtraArgs(init, update)
