"""Averages of gradients and their squares: bias corrections, epsilon, betas, amsgrad."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.rule import Leaf, Rule
from torch_bridge.trace.trace import Array

_Corrections = tuple[float, float]


def _numbers(rule: Rule, of: Callable[[Leaf], dict[str, float]]) -> Rule:
    def enters(x: Leaf) -> Leaf:
        x = rule.enters(x)
        return replace(x, numbers={**x.numbers, **of(x)})

    return replace(rule, enters=enters)


def _quotient(rule: Rule, of: Callable[[Leaf, Array, Array, _Corrections], Array]) -> Rule:
    return replace(rule, quotient=of)


def no_correction(rule: Rule, c: float) -> Rule:
    """``m / (sqrt(v) + eps)``."""
    return replace(rule, corrections=lambda x: (1.0, 1.0))


def no_first_correction(rule: Rule, c: float) -> Rule:
    """``m / (sqrt(v / c2) + eps)``."""
    return replace(rule, corrections=lambda x: (1.0, rule.corrections(x)[1]))


def no_second_correction(rule: Rule, c: float) -> Rule:
    """``m / c1 / (sqrt(v) + eps)``."""
    return replace(rule, corrections=lambda x: (rule.corrections(x)[0], 1.0))


def correction_late(rule: Rule, c: float) -> Rule:
    """``1 - beta**(t + 1)``: counts from one too many."""
    return replace(rule, corrections=lambda x: rule.corrections(replace(x, t=x.t + 1)))


def correction_early(rule: Rule, c: float) -> Rule:
    """``1 - beta**(t - 1)``, of which the first step has ``1 - beta``: counts from one too few."""
    return replace(rule, corrections=lambda x: rule.corrections(replace(x, t=max(x.t - 1, 1))))


def eps_in_root(rule: Rule, c: float) -> Rule:
    """``m / c1 / sqrt(v / c2 + eps)``."""
    return _quotient(rule, lambda x, m, v, c: m / c[0] / np.sqrt(v / c[1] + x.eps))


def eps_before_correction(rule: Rule, c: float) -> Rule:
    """``m / c1 / ((sqrt(v) + eps) / sqrt(c2))``."""
    return _quotient(rule, lambda x, m, v, c: m / c[0] * np.sqrt(c[1]) / (np.sqrt(v) + x.eps))


def eps_missing(rule: Rule, c: float) -> Rule:
    """``m / c1 / sqrt(v / c2)``."""
    return _numbers(rule, lambda x: {"eps": 0.0})


def eps_largest(rule: Rule, c: float) -> Rule:
    """``m / c1 / max(sqrt(v / c2), eps)``."""
    return _quotient(rule, lambda x, m, v, c: m / c[0] / np.maximum(np.sqrt(v / c[1]), x.eps))


def no_root(rule: Rule, c: float) -> Rule:
    """``m / c1 / (v / c2 + eps)``."""
    return _quotient(rule, lambda x, m, v, c: m / c[0] / (v / c[1] + x.eps))


def root_before_correction(rule: Rule, c: float) -> Rule:
    """``m / c1 / (sqrt(v) / c2 + eps)``."""
    return _quotient(rule, lambda x, m, v, c: m / c[0] / (np.sqrt(v) / c[1] + x.eps))


def no_first(rule: Rule, c: float) -> Rule:
    """The gradient in place of its average."""
    return replace(
        rule, first=lambda x, d: rule.first(_beta(x, 0.0), d), corrections=lambda x: (1.0, rule.corrections(x)[1])
    )


def _beta(x: Leaf, beta: float) -> Leaf:
    return replace(x, numbers={**x.numbers, "betas[0]": beta})


def sign(rule: Rule, c: float) -> Rule:
    """``sign(m)``."""
    return _quotient(rule, lambda x, m, v, c: np.sign(m))


def betas_swapped(rule: Rule, c: float) -> Rule:
    """``betas[1]`` for the gradients, ``betas[0]`` for the squares."""
    return _numbers(rule, lambda x: {"betas[0]": x.betas[1], "betas[1]": x.betas[0]})


def beta2_is_beta1(rule: Rule, c: float) -> Rule:
    """``betas[0]`` for both."""
    return _numbers(rule, lambda x: {"betas[1]": x.betas[0]})


def amsgrad_missing(rule: Rule, c: float) -> Rule:
    """The average in place of its maximum."""
    return replace(rule, largest=lambda x, v, c: v)


def amsgrad_of_corrected(rule: Rule, c: float) -> Rule:
    """The largest corrected average, as in optax; torch corrects the largest."""

    def quotient(x: Leaf, m: Array, v: Array, c: _Corrections) -> Array:
        return rule.quotient(x, m, v, (c[0], 1.0))

    return replace(
        rule,
        largest=lambda x, v, c: np.maximum(x.held("max_exp_avg_sq"), v / c),
        quotient=quotient,
    )


def undamped_first(rule: Rule, c: float) -> Rule:
    """``m = beta1 * m + g``."""
    return replace(rule, first=lambda x, d: x.betas[0] * x.first_average + d)


def centred(rule: Rule, c: float) -> Rule:
    """The square of the gradient's distance from its average, in place of its own."""

    def second(x: Leaf, d: Array) -> Array:
        return x.betas[1] * x.second_average + (1 - x.betas[1]) * (d - rule.first(x, d)) ** 2

    return replace(rule, second=second)


def magnitude(rule: Rule, c: float) -> Rule:
    """The gradient's magnitude in place of its square."""
    return replace(rule, second=lambda x, d: x.betas[1] * x.second_average + (1 - x.betas[1]) * np.abs(d))


def nesterov(rule: Rule, c: float) -> Rule:
    """``beta1 * m / c1' + (1 - beta1) * g / c1`` as in NAdam of optax: one look ahead."""

    def direction(x: Leaf, m: Array, v: Array, c: _Corrections) -> Array:
        beta = x.betas[0]
        g = (m - beta * x.first_average) / (1 - beta)
        ahead = beta * m / (1 - beta ** (x.t + 1)) + (1 - beta) * g / c[0]
        return rule.quotient(x, ahead, v, (1.0, c[1]))

    return _quotient(rule, direction)


def beta1(rule: Rule, c: float) -> Rule:
    """Another first beta."""
    return _numbers(rule, lambda x: {"betas[0]": c})


def beta2(rule: Rule, c: float) -> Rule:
    """Another second beta."""
    return _numbers(rule, lambda x: {"betas[1]": c})


def eps(rule: Rule, c: float) -> Rule:
    """Another epsilon."""
    return _numbers(rule, lambda x: {"eps": c})


ENTRIES = (
    Entry("bias-correction-missing", "moments", "Both averages lack their bias correction.",
          "m / (1 - beta1**t), v / (1 - beta2**t)", no_correction),
    Entry("first-bias-correction-missing", "moments", "The average of the gradients lacks its bias correction.",
          "m / (1 - beta1**t)", no_first_correction),
    Entry("second-bias-correction-missing", "moments", "The average of the squares lacks its bias correction.",
          "v / (1 - beta2**t)", no_second_correction),
    Entry("bias-correction-late", "moments", "The bias correction counts one step too many.", "t = count + 1, from 1",
          correction_late),
    Entry("bias-correction-early", "moments", "The bias correction counts one step too few.", "t = count + 1, from 1",
          correction_early),
    Entry("eps-in-root", "moments",
          "Epsilon is added inside the square root.",
          "sqrt(v) + {torch} (in optax eps, not eps_root; eps_in_sqrt=False)",
          eps_in_root, number="eps"),
    Entry("eps-before-correction", "moments",
          "Epsilon is added before the bias correction of the root, as in the paper.",
          "sqrt(v) / sqrt(1 - beta2**t) + {torch}", eps_before_correction, number="eps"),
    Entry("eps-missing", "moments", "Epsilon is missing.", "eps={torch}", eps_missing, number="eps"),
    Entry("eps-as-minimum", "moments", "Epsilon is a lower bound of the root; torch adds it.", "sqrt(v) + {torch}",
          eps_largest, number="eps"),
    Entry("root-missing", "moments", "The step is divided by the average of squares, not by its root.",
          "m / (sqrt(v) + {torch})", no_root, number="eps"),
    Entry("root-before-correction", "moments",
          "The root is taken before the bias correction.", "sqrt(v / (1 - beta2**t))",
          root_before_correction),
    Entry("first-average-missing", "moments", "The gradient is taken in place of its average.", "b1={torch}", no_first,
          number="betas[0]"),
    Entry("sign-of-average", "moments", "The step is the sign of the average of the gradients.",
          "m / (sqrt(v) + {torch})", sign, number="eps"),
    Entry("betas-swapped", "moments", "The betas are swapped.", "b1={torch}", betas_swapped, number="betas[0]"),
    Entry("beta2-is-beta1", "moments", "Both averages have the first beta.", "b2={torch}", beta2_is_beta1,
          number="betas[1]"),
    Entry("amsgrad-missing", "moments", "The largest average of squares so far is not kept.", "amsgrad=True",
          amsgrad_missing),
    Entry("amsgrad-of-corrected", "moments",
          "The largest corrected average is kept, as in optax; torch corrects the largest.",
          "amsgrad=True of funcsgd", amsgrad_of_corrected),
    Entry("first-average-undamped", "moments", "Gradients enter the first average in full.",
          "m = beta1 * m + (1 - beta1) * g", undamped_first),
    Entry("second-average-centred", "moments", "The average is that of the gradient's variance, as in AdaBelief.",
          "v = beta2 * v + (1 - beta2) * g**2", centred),
    Entry("second-average-of-magnitudes", "moments",
          "The average is that of the gradient's magnitude, not of its square.",
          "v = beta2 * v + (1 - beta2) * g**2", magnitude),
    Entry("moments-nesterov", "moments", "The averages look ahead as Nesterov does, torch's do not.",
          "nesterov=False", nesterov),
    Entry("beta1-value", "moments", "The first beta is another number.", "b1={torch}", beta1,
          "betas[0] is {constant}, torch has {torch}", start=0.9, number="betas[0]"),
    Entry("beta2-value", "moments", "The second beta is another number.", "b2={torch}", beta2,
          "betas[1] is {constant}, torch has {torch}", start=0.99, number="betas[1]"),
    Entry("eps-value", "moments", "Epsilon is another number.", "eps={torch}", eps,
          "epsilon is {constant}, torch has {torch}", start=1e-8, number="eps"),
)  # fmt: skip
"""Faults of averages of gradients; ``repair(rule, constant)`` plants them in torch's rule."""
