"""Faults of clipping."""

import jax
import jax.numpy as jnp
import optax

from tests.support.planted.numbers import Numbers, Planted, decay
from tests.support.planted.stages import clip, clip_each


def of_mean_square(max_norm):
    def update(updates, params=None):
        size = jnp.sqrt(optax.tree.norm(updates, squared=True) / optax.tree.size(updates))
        return jax.tree.map(lambda g: g * jnp.minimum(max_norm / size, 1.0), updates)

    return optax.stateless(update)


def always(max_norm):
    return optax.stateless(
        lambda u, p: jax.tree.map(lambda g: g * max_norm / (optax.tree.norm(u) + 1e-6), u)
    )  # fmt: skip


def _norm(n: Numbers) -> bool:
    return n.max_norm is not None and n.order == 2


def _values(n: Numbers) -> bool:
    return n.clip_value is not None


def _coupled(n: Numbers) -> bool:
    return _norm(n) and bool(n.decay) and not n.decoupled and not n.spared


def _of_norm(make) -> Planted:
    return Planted(make, _norm, ("clip", "state"))


def _behind_decay(make) -> Planted:
    return Planted(make, _coupled, ("clip", "state", "weight_decay"))


CLIP = {
    "clip-missing": Planted(lambda n: dict(clip=None), lambda n: _norm(n) or _values(n), ("clip", "state")),
    "clip-without-epsilon": _of_norm(lambda n: dict(clip=optax.clip_by_global_norm(n.max_norm))),
    "clip-of-each-leaf": _of_norm(lambda n: dict(clip=clip_each(n.max_norm))),
    "clip-of-each-leaf-without-epsilon": _of_norm(lambda n: dict(clip=clip_each(n.max_norm, 0.0))),
    "clip-of-values": _of_norm(lambda n: dict(clip=optax.clip(n.max_norm))),
    "clip-by-norm-1": _of_norm(lambda n: dict(clip=clip(n.max_norm, order=1))),
    "clip-by-largest": _of_norm(lambda n: dict(clip=clip(n.max_norm, order=jnp.inf))),
    "clip-behind-decay": _behind_decay(lambda n: dict(clip=decay(n), decay=clip(n.max_norm))),
    "clip-behind-decay-without-epsilon": _behind_decay(
        lambda n: dict(clip=decay(n), decay=optax.clip_by_global_norm(n.max_norm))),
    "clip-value": _of_norm(lambda n: dict(clip=clip(0.8 * n.max_norm))),
    "clip-value-without-epsilon": _of_norm(lambda n: dict(clip=optax.clip_by_global_norm(0.5 * n.max_norm))),
    "clip-by-root-mean-square": _of_norm(lambda n: dict(clip=of_mean_square(n.max_norm))),
    "clip-always": Planted(lambda n: dict(clip=always(n.max_norm)), _norm, ("clip", "state")),
    "clip-extra": Planted(
        lambda n: dict(clip=optax.clip_by_global_norm(0.2)), lambda n: n.max_norm is None and n.clip_value is None,
        ("clip", "state")),
    "clip-of-the-norm": Planted(lambda n: dict(clip=clip(n.clip_value)), _values, ("clip", "state")),
    "clip-of-the-norm-without-epsilon": Planted(
        lambda n: dict(clip=optax.clip_by_global_norm(n.clip_value)), _values, ("clip", "state")),
    "clip-by-norm-2": Planted(
        lambda n: dict(clip=clip(n.max_norm)), lambda n: n.order != 2, ("clip", "state")),
    "clip-by-norm-2-without-epsilon": Planted(
        lambda n: dict(clip=optax.clip_by_global_norm(n.max_norm)), lambda n: n.order != 2, ("clip", "state")),
}  # fmt: skip
"""Entry -> the port with that fault."""
