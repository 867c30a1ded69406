"""Clipping: missing, of each leaf by itself, of another norm, at another place."""

from dataclasses import replace
from typing import Any

import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.rule import Gradients, Rule, Tree
from torch_bridge.trace.trace import Array

_EPS = 1e-6  # torch's


def _order(tree: Tree) -> float:
    return float(tree.clip.get("norm_type", 2.0))


def _limit(tree: Tree) -> float:
    return float(tree.clip.get("max_norm", tree.clip.get("clip_value", np.inf)))


def _norm(arrays: list[Array], p: float) -> float:
    return float(np.linalg.norm([np.linalg.norm(np.ravel(g), p) for g in arrays], p))


def by_norm(gradients: Gradients, limit: float, p: float = 2.0, eps: float = _EPS) -> dict[str, Array]:
    """``g * min(limit / (norm + eps), 1)``, of the norm of all gradients together."""
    norm = _norm(list(gradients.values()), p)
    factor = min(limit / (norm + eps), 1.0) if norm + eps else 1.0
    return {name: g * factor for name, g in gradients.items()}


def by_value(gradients: Gradients, limit: float) -> dict[str, Array]:
    """``clip(g, -limit, limit)``."""
    return {name: np.clip(g, -limit, limit) for name, g in gradients.items()}


def _again(tree: Tree, **changes: Any) -> Gradients:
    """As torch clips, with some of its arguments changed."""
    if "clip_value" in tree.clip:
        return by_value(tree.gradients, changes.get("limit", _limit(tree)))
    return by_norm(tree.gradients, changes.get("limit", _limit(tree)), changes.get("p", _order(tree)),
                   changes.get("eps", _EPS))  # fmt: skip


def missing(rule: Rule, c: float) -> Rule:
    """``g = g``."""
    return replace(rule, clip=lambda tree: tree.gradients)


def without_epsilon(rule: Rule, c: float) -> Rule:
    """``g * min(max_norm / norm, 1)``."""
    return replace(rule, clip=lambda tree: _again(tree, eps=0.0))


def of_each_leaf(rule: Rule, c: float) -> Rule:
    """The norm of each gradient by itself."""
    return replace(rule, clip=lambda tree: {
        name: by_norm({name: g}, _limit(tree), _order(tree))[name] for name, g in tree.gradients.items()
    })  # fmt: skip


def of_each_leaf_without_epsilon(rule: Rule, c: float) -> Rule:
    """The norm of each gradient by itself, without torch's 1e-6."""
    return replace(rule, clip=lambda tree: {
        name: by_norm({name: g}, _limit(tree), _order(tree), 0.0)[name] for name, g in tree.gradients.items()
    })  # fmt: skip


def of_values(rule: Rule, c: float) -> Rule:
    """``clip(g, -max_norm, max_norm)``."""
    return replace(rule, clip=lambda tree: by_value(tree.gradients, _limit(tree)))


def of_the_norm(rule: Rule, c: float) -> Rule:
    """The norm is limited, where torch limits values."""
    return replace(rule, clip=lambda tree: by_norm(tree.gradients, _limit(tree)))


def of_the_norm_without_epsilon(rule: Rule, c: float) -> Rule:
    """The norm is limited as optax does, where torch limits values."""
    return replace(rule, clip=lambda tree: by_norm(tree.gradients, _limit(tree), eps=0.0))


def of_norm_2(rule: Rule, c: float) -> Rule:
    """The 2-norm in place of torch's norm."""
    return replace(rule, clip=lambda tree: _again(tree, p=2.0))


def of_norm_2_without_epsilon(rule: Rule, c: float) -> Rule:
    """The 2-norm in place of torch's, as optax has it."""
    return replace(rule, clip=lambda tree: _again(tree, p=2.0, eps=0.0))


def of_norm_1(rule: Rule, c: float) -> Rule:
    """The 1-norm in place of torch's norm."""
    return replace(rule, clip=lambda tree: _again(tree, p=1.0))


def of_the_largest(rule: Rule, c: float) -> Rule:
    """The largest element in place of torch's norm."""
    return replace(rule, clip=lambda tree: _again(tree, p=np.inf))


def always(rule: Rule, c: float) -> Rule:
    """``g * max_norm / norm``, also where the norm is smaller."""
    return replace(rule, clip=lambda tree: {
        name: g * _limit(tree) / (_norm(list(tree.gradients.values()), _order(tree)) + _EPS)
        for name, g in tree.gradients.items()
    })  # fmt: skip


def of_the_mean(rule: Rule, c: float) -> Rule:
    """The root of the mean square in place of the norm."""

    def clipped(tree: Tree) -> Gradients:
        n = sum(g.size for g in tree.gradients.values())
        return by_norm(tree.gradients, _limit(tree) * float(np.sqrt(n)), _order(tree), 0.0)

    return replace(rule, clip=clipped)


def behind_decay(rule: Rule, c: float) -> Rule:
    """The gradient with its weight decay is clipped."""
    return replace(rule, clip=lambda tree: _again(_decayed(tree)), decayed=lambda x: x.g)


def behind_decay_without_epsilon(rule: Rule, c: float) -> Rule:
    """The gradient with its weight decay is clipped, without torch's 1e-6."""
    return replace(rule, clip=lambda tree: _again(_decayed(tree), eps=0.0), decayed=lambda x: x.g)


def _decayed(tree: Tree) -> Tree:
    return replace(tree, leaves={k: replace(x, g=x.g + x.decay * x.p) for k, x in tree.leaves.items()})


def value(rule: Rule, c: float) -> Rule:
    """Another limit."""
    return replace(rule, clip=lambda tree: _again(tree, limit=c))


def value_without_epsilon(rule: Rule, c: float) -> Rule:
    """Another limit, and no 1e-6."""
    return replace(rule, clip=lambda tree: _again(tree, limit=c, eps=0.0))


def extra(rule: Rule, c: float) -> Rule:
    """Clipping by norm where torch does not clip."""
    return replace(rule, clip=lambda tree: by_norm(tree.gradients, c, eps=0.0))


_CALL = "funcsgd.clip_grad_norm({torch}) first in the chain"
ENTRIES = (
    Entry("clip-missing", "clip", "The gradients are not clipped.", _CALL, missing, number="max_norm"),
    Entry("clip-without-epsilon", "clip", "The norm is divided by as it is; torch adds 1e-6 to it.", _CALL,
          without_epsilon, number="max_norm"),
    Entry("clip-of-each-leaf", "clip", "Each gradient is clipped by its own norm, torch clips by that of all together.",
          _CALL, of_each_leaf, number="max_norm"),
    Entry("clip-of-each-leaf-without-epsilon", "clip",
          "Each gradient is clipped by its own norm, and without the 1e-6 that torch adds.", _CALL,
          of_each_leaf_without_epsilon, number="max_norm"),
    Entry("clip-of-values", "clip", "Each value is clipped, torch clips the norm.",
          _CALL, of_values, number="max_norm"),
    Entry("clip-of-the-norm", "clip", "The norm is clipped, torch clips each value.",
          "funcsgd.clip_grad_value({torch})", of_the_norm, number="max_norm"),
    Entry("clip-of-the-norm-without-epsilon", "clip", "The norm is clipped as optax does, torch clips each value.",
          "funcsgd.clip_grad_value({torch})", of_the_norm_without_epsilon, number="max_norm"),
    Entry("clip-by-norm-2", "clip", "The 2-norm is taken, torch has another norm_type.",
          "funcsgd.clip_grad_norm({torch}, norm_type=...)", of_norm_2, number="max_norm"),
    Entry("clip-by-norm-2-without-epsilon", "clip", "The 2-norm is taken as optax does, torch has another norm_type.",
          "funcsgd.clip_grad_norm({torch}, norm_type=...)", of_norm_2_without_epsilon, number="max_norm"),
    Entry("clip-by-norm-1", "clip", "The 1-norm is taken, torch has another norm_type.",
          _CALL, of_norm_1, number="max_norm"),
    Entry("clip-by-largest", "clip", "The largest element is taken for the norm.",
          _CALL, of_the_largest, number="max_norm"),
    Entry("clip-always", "clip", "The gradients are scaled to the limit also where their norm is below it.", _CALL,
          always, number="max_norm"),
    Entry("clip-by-root-mean-square", "clip", "The root of the mean square is taken for the norm.",
          _CALL, of_the_mean, number="max_norm"),
    Entry("clip-behind-decay", "clip", "The weight decay is added before the clipping, torch clips first.", _CALL,
          behind_decay, number="max_norm"),
    Entry("clip-behind-decay-without-epsilon", "clip",
          "The weight decay is added before the clipping, which also lacks torch's 1e-6.", _CALL,
          behind_decay_without_epsilon, number="max_norm"),
    Entry("clip-value", "clip", "The limit of the clipping is another number.", _CALL, value,
          "the limit of the clipping is {constant}, torch has {torch}", start=1.0, number="max_norm"),
    Entry("clip-value-without-epsilon", "clip",
          "The limit of the clipping is another number, and torch's 1e-6 is missing.", _CALL, value_without_epsilon,
          "the limit of the clipping is {constant}, torch has {torch} (and adds 1e-6 to the norm)", start=1.0,
          number="max_norm"),
    Entry("clip-extra", "clip", "The gradients are clipped, torch does not clip.", "no clipping", extra,
          "the gradients are clipped at {constant}, torch does not clip", start=1.0),
)  # fmt: skip
"""Faults of clipping; ``repair(rule, constant)`` plants them in torch's rule."""
