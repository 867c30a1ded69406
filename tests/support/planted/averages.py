"""Faults of the average of parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from funcsgd import averages
from funcsgd.averages import AverageState, WithAverageState
from tests.support.planted.numbers import Numbers, Planted


def following(tx: optax.GradientTransformation, of: Callable[..., jax.Array]) -> optax.GradientTransformation:
    """An average by hand: ``of(average, before, after, n)`` of each parameter, with ``n`` sets in it."""

    def init(params):
        zero = jnp.zeros((), jnp.int32)
        return WithAverageState(tx.init(params), AverageState(zero, zero, jax.tree.map(jnp.array, params), ()))

    def update(updates, state, params):
        updates, inner = tx.update(updates, state.inner_state, params)
        old, n = state.average, state.average.n_averaged
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, before, after: of(a, before, after, n), old.average, params, new)
        return updates, WithAverageState(inner, AverageState(old.count + 1, n + 1, average, ()))

    return optax.GradientTransformation(init, update)


def _ema(a, p, decay):
    return decay * a + (1 - decay) * p


def _by_hand(of: Callable[[Numbers], Callable[..., jax.Array]], step=0) -> Planted:
    return Planted(lambda n: dict(average=lambda tx: following(tx, of(n))), lambda n: bool(n.ema), ("average",), step)


def _of(average: Callable[[Numbers], averages.Average], step=0) -> Planted:
    return Planted(lambda n: dict(average=average(n)), lambda n: bool(n.ema), ("average",), step)


def _warmed(n: Numbers, n_averaged: jax.Array) -> jax.Array:
    return jnp.minimum(n.ema, (1 + n_averaged) / (10 + n_averaged))


AVERAGE = {
    "average-from-start": _of(lambda n: averages.ema(n.ema, copy_first=False)),
    "average-decay": _of(lambda n: averages.ema(n.ema + 0.05), 1),
    "average-decay-from-start": _of(lambda n: averages.ema(n.ema + 0.05, copy_first=False)),
    "average-before-step": _by_hand(lambda n: lambda a, p, q, k: _ema(a, p, n.ema)),
    "average-from-zero": _by_hand(lambda n: lambda a, p, q, k: _ema(jnp.where(k == 0, 0.0, a), q, n.ema)),
    "average-still": _by_hand(lambda n: lambda a, p, q, k: a),
    "average-copied": _by_hand(lambda n: lambda a, p, q, k: q, 1),
    "average-swapped": _by_hand(lambda n: lambda a, p, q, k: jnp.where(k == 0, q, _ema(a, q, 1 - n.ema)), 1),
    "average-warmed": _by_hand(lambda n: lambda a, p, q, k: jnp.where(k == 0, q, _ema(a, q, _warmed(n, k))), 1),
}
"""Entry -> the port with that fault. Of those that are fed with the parameters before the step and begin at the initial
ones, the first set leaves the average as it is."""
