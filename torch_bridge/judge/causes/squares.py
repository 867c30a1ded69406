"""Squares of gradients without an average of the gradients: RMSprop and Adagrad, beside what `moments` has of them."""

from dataclasses import replace

from torch_bridge.judge.causes import moments
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.rule import Leaf, Rule

_SHARED = ("eps-in-root", "eps-missing", "eps-as-minimum", "root-missing", "eps-value")
_OF_AVERAGES = ("second-average-of-magnitudes",)


def alpha(rule: Rule, c: float) -> Rule:
    """Another decay of the averages."""
    return rule.with_number("alpha", c)


def corrected(rule: Rule, c: float) -> Rule:
    """``g / (sqrt(v / (1 - alpha**t)) + eps)``."""
    return replace(rule, corrections=lambda x: (1.0, 1 - x.betas[1] ** x.t))


def not_centred(rule: Rule, c: float) -> Rule:
    """``g / (sqrt(v) + eps)``."""
    return rule.with_flag("centered", False)


def rate_constant(rule: Rule, c: float) -> Rule:
    """The learning rate does not fall."""
    return rule.with_number("lr_decay", 0.0)


def rate_decay(rule: Rule, c: float) -> Rule:
    """The learning rate falls otherwise."""
    return rule.with_number("lr_decay", c)


ENTRIES = (
    Entry("alpha-value", "moments", "The decay of the average of squares is another number.",
          "decay={torch}; optax's default is 0.9", alpha,
          "alpha is {constant}, torch has {torch}", start=0.9, number="alpha"),
    Entry("bias-correction-extra", "moments",
          "The average of squares has a bias correction, which torch does not have.", "bias_correction=False",
          corrected),
    Entry("centered-missing", "moments", "The root is that of the mean square, not of the variance.", "centered=True",
          not_centred),
    Entry("lr-decay-missing", "moments", "The learning rate does not fall by lr_decay.",
          "learning_rate / (1 + count * {torch})", rate_constant, number="lr_decay"),
    Entry("lr-decay-value", "moments", "lr_decay is another number.", "learning_rate / (1 + count * {torch})",
          rate_decay,
          "lr_decay is {constant}, torch has {torch}", start=0.1, number="lr_decay"),
)  # fmt: skip
"""Faults of squares alone; ``repair(rule, constant)`` plants them in torch's rule."""


def entries(leaf: Leaf) -> list[Entry]:
    """The entries that mean something for a rule with squares alone, those of `moments` among them."""
    if "lr_decay" in leaf.numbers:
        names = [*_SHARED, "lr-decay-value", *(["lr-decay-missing"] if leaf.numbers["lr_decay"] else [])]
    else:
        of_root = "centered-missing" if leaf.flags["centered"] else "bias-correction-extra"
        names = [*_SHARED, *_OF_AVERAGES, "alpha-value", of_root]
    return [entry for entry in (*moments.ENTRIES, *ENTRIES) if entry.name in names]
