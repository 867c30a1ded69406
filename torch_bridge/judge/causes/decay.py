"""Weight decay: missing, doubled, of the other kind, in the wrong place, on the wrong parameters."""

from dataclasses import replace
from typing import Any

import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.rule import Leaf, Rule
from torch_bridge.trace.trace import Array


def _with_decay(x: Leaf, decay: float) -> Leaf:
    return replace(x, numbers={**x.numbers, "weight_decay": decay})


def _enters(rule: Rule, of: Any) -> Rule:
    """The rule with another weight decay for each leaf, ``of(x)``."""
    return replace(rule, enters=lambda x: _with_decay(rule.enters(x), of(x)))


def missing(rule: Rule, c: float) -> Rule:
    """``g = g``."""
    return _enters(rule, lambda x: 0.0)


def doubled(rule: Rule, c: float) -> Rule:
    """``g = g + 2 * weight_decay * p``."""
    return _enters(rule, lambda x: 2 * x.decay)


def halved(rule: Rule, c: float) -> Rule:
    """``g = g + weight_decay / 2 * p``."""
    return _enters(rule, lambda x: x.decay / 2)


def value(rule: Rule, c: float) -> Rule:
    """``g = g + c * p``."""
    return _enters(rule, lambda x: c if x.decay else 0.0)


def extra(rule: Rule, c: float) -> Rule:
    """``g = g + c * p`` where torch has no decay."""
    return _enters(rule, lambda x: c if not x.decay else x.decay)


def everywhere(rule: Rule, c: float) -> Rule:
    """Parameters of groups without decay get that of the others."""
    return _enters(rule, lambda x: max(group.get("weight_decay", 0.0) for group in x.groups))


def not_on_vectors(rule: Rule, c: float) -> Rule:
    """Biases and norms, which have one axis, are left out."""
    return _enters(rule, lambda x: x.decay if x.p.ndim > 1 else 0.0)


def on_vectors_only(rule: Rule, c: float) -> Rule:
    """The mask is the wrong way round."""
    return _enters(rule, lambda x: x.decay if x.p.ndim < 2 else 0.0)


def decoupled(rule: Rule, c: float) -> Rule:
    """``p = p * (1 - lr * weight_decay)`` in place of ``g = g + weight_decay * p``."""
    return replace(rule, decayed=lambda x: x.g, kept=lambda x: x.p * (1 - x.lr * x.decay))


def coupled(rule: Rule, c: float) -> Rule:
    """``g = g + weight_decay * p`` in place of ``p = p * (1 - lr * weight_decay)``."""
    return replace(rule, decayed=lambda x: x.g + x.decay * x.p, kept=lambda x: x.p)


def without_rate(rule: Rule, c: float) -> Rule:
    """``p = p * (1 - weight_decay)``."""
    return replace(rule, decayed=lambda x: x.g, kept=lambda x: x.p * (1 - x.decay))


def with_first_rate(rule: Rule, c: float) -> Rule:
    """``p = p * (1 - lr_0 * weight_decay)``: the decay does not follow the schedule."""
    return replace(rule, decayed=lambda x: x.g, kept=lambda x: x.p * (1 - float(x.rates[0]) * x.decay))


def at_a_constant(rule: Rule, c: float) -> Rule:
    """``p = p * (1 - c)``: the decay has no part in the schedule."""
    return replace(rule, decayed=lambda x: x.g, kept=lambda x: x.p * (1 - c if x.decay else 1.0))


def of_the_new(rule: Rule, c: float) -> Rule:
    """The parameter decays after the step: ``p = (p - lr * direction) * (1 - lr * weight_decay)``."""

    def change(x: Leaf, change: Array) -> Array:
        return (x.p + change) * (1 - x.lr * x.decay) - x.p

    return replace(rule, decayed=lambda x: x.g, kept=lambda x: x.p, change=change)


def inverted(rule: Rule, c: float) -> Rule:
    """What decays in torch does not, and the other way round."""

    def other(x: Leaf) -> float:
        return 0.0 if x.decay else max(group.get("weight_decay", 0.0) for group in x.groups)

    return _enters(rule, other)


def negative(rule: Rule, c: float) -> Rule:
    """``g = g - weight_decay * p``."""
    return _enters(rule, lambda x: -x.decay)


def of_the_sign(rule: Rule, c: float) -> Rule:
    """``g = g + weight_decay * sign(p)``: L1 in place of L2."""
    return replace(rule, decayed=lambda x: x.g + x.decay * np.sign(x.p), kept=lambda x: x.p)


_ADD = "optax.add_decayed_weights({torch}) first in the chain, before the momentum"
ENTRIES = (
    Entry("decay-missing", "decay",
          "The weight decay is missing.", "weight_decay={torch}", missing, number="weight_decay"),
    Entry("decay-doubled", "decay", "The weight decay is applied twice.", "weight_decay={torch}, in one place", doubled,
          number="weight_decay"),
    Entry("decay-halved", "decay", "The weight decay is half of torch's, as of an l2 term without its factor 2.",
          "weight_decay={torch}", halved, number="weight_decay"),
    Entry("decay-not-on-vectors", "decay", "Biases and norms do not decay; in torch they do.",
          "weight_decay={torch} without a mask", not_on_vectors, number="weight_decay"),
    Entry("decay-on-vectors-only", "decay", "The mask of the weight decay is inverted: biases and norms decay alone.",
          "mask=jax.tree.map(lambda p: p.ndim > 1, params)", on_vectors_only, number="weight_decay"),
    Entry("decay-everywhere", "decay", "Parameters decay whose group in torch has no weight decay.",
          "a mask of the parameters in torch's groups that decay", everywhere),
    Entry("decay-inverted", "decay", "The mask of the weight decay is the wrong way round: those parameters decay that "
          "do not in torch.", "a mask that is True where torch's groups decay", inverted),
    Entry("decay-decoupled", "decay",
          "The weight decay is decoupled, added behind the momentum; torch's enters the gradient.",
          _ADD, decoupled, number="weight_decay"),
    Entry("decay-coupled", "decay", "The weight decay is coupled, it enters the gradient; torch's is decoupled.",
          "p = p * (1 - learning_rate * {torch}), before the step", coupled, number="weight_decay"),
    Entry("decay-without-rate", "decay", "The decoupled decay lacks the factor of the learning rate.",
          "p * (1 - learning_rate * {torch})", without_rate, number="weight_decay"),
    Entry("decay-with-first-rate", "decay",
          "The decoupled decay keeps the first learning rate, torch's follows the schedule.",
          "p * (1 - learning_rate(count) * {torch})", with_first_rate, number="weight_decay"),
    Entry("decay-at-a-constant", "decay", "The decoupled decay is a constant, torch's follows the schedule.",
          "p * (1 - learning_rate(count) * weight_decay) with torch's schedule", at_a_constant,
          "the decoupled decay is {constant} of the parameter at every step, torch's follows the schedule", start=1e-3),
    Entry("decay-of-the-new-parameter", "decay", "The decoupled decay is applied after the step in place of before it.",
          "p = p * (1 - learning_rate * {torch}), then the step", of_the_new, number="weight_decay"),
    Entry("decay-negative", "decay", "The weight decay has the wrong sign.", "weight_decay={torch}", negative,
          number="weight_decay"),
    Entry("decay-l1", "decay", "The decay is that of an l1 penalty, the sign of the parameter.",
          _ADD, of_the_sign, number="weight_decay"),
    Entry("decay-value", "decay", "The weight decay is another number.", "weight_decay={torch}", value,
          "the weight decay is {constant}, torch has {torch}", start=0.0, number="weight_decay"),
    Entry("decay-extra", "decay", "There is a weight decay, torch has none.", "weight_decay=0", extra,
          "there is a weight decay of {constant}, torch has none", start=0.0),
)  # fmt: skip
"""Faults of weight decay; ``repair(rule, constant)`` plants them in torch's rule."""
