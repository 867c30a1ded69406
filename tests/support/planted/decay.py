"""Faults of weight decay."""

from typing import Any

import jax.numpy as jnp
import optax

from tests.support.planted import stages
from tests.support.planted.numbers import Numbers, Planted, decay
from tests.support.planted.schedule import first_change


def _decays(n: Numbers) -> bool:
    return bool(n.decay)


def _adds(n: Numbers) -> bool:
    return bool(n.decay) and not n.decoupled


def _decouples(n: Numbers) -> bool:
    return bool(n.decay) and n.decoupled


def _with(n: Numbers, made: optax.GradientTransformation | None) -> dict[str, Any]:
    return {"decoupled" if n.decoupled else "decay": made}


def _of_decay(make, leaves="decay", when=_decays, step=0) -> Planted:
    return Planted(make, when, ("weight_decay", "decayed_parameter", "state", "parameter"), step, leaves)


def _by_hand(n: Numbers, change) -> dict[str, Any]:
    """AdamW with its decay behind the rate, ``change(update, parameter)``, on what decays."""
    by_hand = stages.stage(change)
    if n.spared:
        by_hand = optax.masked(by_hand, stages.only(2))
    rate = stages.rate(stages.rates(*n.rates) if n.rates else n.lr)
    return dict(decoupled=None, rate=optax.chain(rate, by_hand))


DECAY = {
    "decay-missing": _of_decay(lambda n: _with(n, None)),
    "decay-doubled": _of_decay(lambda n: _with(n, decay(n, 2 * n.decay))),
    "decay-halved": _of_decay(lambda n: _with(n, decay(n, n.decay / 2))),
    "decay-not-on-vectors": _of_decay(
        lambda n: _with(n, decay(n, mask=stages.only(2))), "vectors", lambda n: _decays(n) and not n.spared),
    "decay-on-vectors-only": _of_decay(
        lambda n: _with(n, decay(n, mask=stages.only(1))), "matrices", lambda n: _decays(n) and not n.spared),
    "decay-everywhere": _of_decay(
        lambda n: _with(n, optax.add_decayed_weights(n.decay)), "vectors", lambda n: _decays(n) and n.spared),
    "decay-inverted": _of_decay(
        lambda n: _with(n, decay(n, mask=stages.only(1))),
        "all",
        lambda n: _decays(n) and n.spared,
    ),
    "decay-negative": _of_decay(lambda n: _with(n, decay(n, -n.decay))),
    "decay-value": _of_decay(lambda n: _with(n, decay(n, 1.3 * n.decay))),
    "decay-l1": _of_decay(
        lambda n: dict(decay=stages.stage(lambda g, p: g + n.decay * jnp.sign(p))), when=_adds),
    "decay-decoupled": _of_decay(lambda n: dict(decay=None, decoupled=decay(n)), when=_adds),
    "decay-coupled": _of_decay(lambda n: dict(decay=decay(n), decoupled=None), when=_decouples),
    "decay-without-rate": _of_decay(
        lambda n: _by_hand(n, lambda g, p: g - n.decay * p), when=_decouples),
    "decay-of-the-new-parameter": _of_decay(
        lambda n: _by_hand(n, lambda g, p: g - n.lr * n.decay * (p + g)), when=lambda n: _decouples(n) and not n.rates),
    "decay-with-first-rate": _of_decay(
        lambda n: _by_hand(n, lambda g, p: g - n.lr * n.decay * p), when=lambda n: _decouples(n) and bool(n.rates),
        step=lambda n: first_change(n.rates, n.rates[:1] * len(n.rates))),
    "decay-extra": Planted(
        lambda n: dict(decay=optax.add_decayed_weights(3e-3)), lambda n: not n.decay, ("weight_decay", "state")),
}  # fmt: skip
"""Entry -> the port with that fault."""
