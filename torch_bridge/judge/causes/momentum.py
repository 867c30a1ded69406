"""Momentum: missing, damped, looking ahead or not, with the learning rate inside."""

from dataclasses import replace

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.rule import Leaf, Rule
from torch_bridge.trace.trace import Array


def missing(rule: Rule, c: float) -> Rule:
    """The gradient is the direction."""
    return replace(rule, direction=lambda x, d, b: d)


def nesterov_missing(rule: Rule, c: float) -> Rule:
    """``direction = b``."""
    return rule.with_flag("nesterov", False)


def nesterov_extra(rule: Rule, c: float) -> Rule:
    """``direction = g + momentum * b``."""
    return rule.with_flag("nesterov", True)


def dampening_missing(rule: Rule, c: float) -> Rule:
    """``b = momentum * b + g``."""
    return rule.with_number("dampening", 0.0)


def averaged(rule: Rule, c: float) -> Rule:
    """``b = momentum * b + (1 - momentum) * g``, from the first step on."""
    return replace(rule, buffer=lambda x, d: x.momentum * x.held("momentum_buffer") + (1 - x.momentum) * d)


def damped_first(rule: Rule, c: float) -> Rule:
    """The first gradient enters by ``1 - momentum``, later ones in full."""

    def buffer(x: Leaf, d: Array) -> Array:
        return (1 - x.momentum) * d if x.is_first else rule.buffer(x, d)

    return replace(rule, buffer=buffer)


def dampening_on_first(rule: Rule, c: float) -> Rule:
    """The dampening acts on the first gradient as well."""
    return replace(rule, buffer=lambda x, d: x.momentum * x.held("momentum_buffer") + (1 - x.dampening) * d)


def rate_inside(rule: Rule, c: float) -> Rule:
    """``b = momentum * b + lr * g``, ``p = p - b``."""
    return replace(
        rule,
        buffer=lambda x, d: rule.buffer(x, x.lr * d),
        direction=lambda x, d, b: rule.direction(x, x.lr * d, b) / x.lr,
    )


def velocity(rule: Rule, c: float) -> Rule:
    """``b = momentum * b - lr * g``, ``p = p + b``."""
    return replace(
        rule,
        buffer=lambda x, d: rule.buffer(x, -x.lr * d),
        direction=lambda x, d, b: -rule.direction(x, -x.lr * d, b) / x.lr,
    )


def negative(rule: Rule, c: float) -> Rule:
    """``b = g - momentum * b``."""
    return replace(rule, buffer=lambda x, d: d if x.is_first else d - x.momentum * x.held("momentum_buffer"))


def old_buffer(rule: Rule, c: float) -> Rule:
    """The step goes along the buffer before this gradient."""
    return replace(rule, direction=lambda x, d, b: x.held("momentum_buffer"))


def ascent(rule: Rule, c: float) -> Rule:
    """``p = p + lr * direction``."""
    return replace(rule, change=lambda x, change: -rule.change(x, change))


def value(rule: Rule, c: float) -> Rule:
    """Another momentum."""
    return rule.with_number("momentum", c)


def dampening(rule: Rule, c: float) -> Rule:
    """Another dampening."""
    return rule.with_number("dampening", c)


ENTRIES = (
    Entry("momentum-missing", "momentum", "The momentum does not act: the gradient is the direction.",
          "momentum={torch}", missing, number="momentum"),
    Entry("nesterov-missing", "momentum", "The look-ahead of Nesterov is missing.", "nesterov=True", nesterov_missing),
    Entry("nesterov-extra", "momentum", "There is a look-ahead of Nesterov, which torch does not have.",
          "nesterov=False", nesterov_extra),
    Entry("dampening-missing", "momentum", "The dampening is missing: gradients enter the buffer in full.",
          "dampening={torch}, as in funcsgd.add_momentum", dampening_missing, number="dampening"),
    Entry("momentum-averaged", "momentum",
          "The buffer is a moving average, momentum * b + (1 - momentum) * g; in torch gradients enter in full.",
          "optax.trace({torch}) in place of optax.ema", averaged, number="momentum"),
    Entry("momentum-damped-first", "momentum",
          "The first gradient enters the buffer by 1 - momentum, in torch in full.",
          "the buffer starts as the first gradient", damped_first, number="momentum"),
    Entry("dampening-on-first", "momentum", "The dampening acts on the first gradient as well, in torch it does not.",
          "the buffer starts as the first gradient, undamped", dampening_on_first, number="dampening"),
    Entry("rate-inside-buffer", "momentum",
          "The learning rate multiplies the gradient before the buffer, so that old gradients keep old rates.",
          "optax.trace({torch}) before the scaling by the learning rate", rate_inside, number="momentum"),
    Entry("velocity-form", "momentum",
          "The buffer is a velocity, momentum * v - lr * g; torch's has no rate and no sign.",
          "b = {torch} * b + g; p = p - learning_rate * b", velocity, number="momentum"),
    Entry("momentum-negative", "momentum", "The buffer enters with the wrong sign.", "b = {torch} * b + g", negative,
          number="momentum"),
    Entry("momentum-late", "momentum", "The step goes along the buffer as it was before this gradient.",
          "update the buffer, then step along it", old_buffer, number="momentum"),
    Entry("ascent", "momentum", "The step goes uphill: the sign of the update is wrong.", "-learning_rate", ascent),
    Entry("momentum-value", "momentum", "The momentum is another number.", "momentum={torch}", value,
          "the momentum is {constant}, torch has {torch}", start=0.9, number="momentum"),
    Entry("dampening-value", "momentum", "The dampening is another number.", "dampening={torch}", dampening,
          "the dampening is {constant}, torch has {torch}", start=0.1, number="dampening"),
)  # fmt: skip
"""Faults of a buffer of gradients; ``repair(rule, constant)`` plants them in torch's rule."""
