"""The learning rate: another one, constant, late, early, of another unit, without its warm-up."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.rule import Leaf, Rule


def _rate(rule: Rule, of: Callable[[Leaf], float]) -> Rule:
    def enters(x: Leaf) -> Leaf:
        x = rule.enters(x)
        return replace(x, numbers={**x.numbers, "lr": of(x)})

    return replace(rule, enters=enters)


def _at(x: Leaf, step: int) -> float:
    """Torch's rate of another step; the first before the run, NaN after it, where it is not known."""
    return float(x.rates[max(step, 0)]) if step < len(x.rates) else float("nan")


def late(rule: Rule, c: float) -> Rule:
    """``lr[t - 1]``."""
    return _rate(rule, lambda x: _at(x, x.step - 1))


def early(rule: Rule, c: float) -> Rule:
    """``lr[t + 1]``."""
    return _rate(rule, lambda x: _at(x, x.step + 1))


def constant(rule: Rule, c: float) -> Rule:
    """``lr[0]``."""
    return _rate(rule, lambda x: _at(x, 0))


def _epoch(x: Leaf) -> int:
    """The number of steps for which a rate lasts."""
    (changes,) = np.nonzero(np.diff(x.rates))
    return int(changes[0]) + 1 if changes.size else len(x.rates)


def per_step(rule: Rule, c: float) -> Rule:
    """The rate of epoch ``t`` at step ``t``."""
    return _rate(rule, lambda x: _at(x, x.step * _epoch(x)))


def epoch_late(rule: Rule, c: float) -> Rule:
    """The rate of the epoch before."""
    return _rate(rule, lambda x: _at(x, x.step - _epoch(x)))


def epoch_early(rule: Rule, c: float) -> Rule:
    """The rate of the next epoch."""
    return _rate(rule, lambda x: _at(x, x.step + _epoch(x)))


def no_warmup(rule: Rule, c: float) -> Rule:
    """The largest rate from the start."""
    return _rate(rule, lambda x: x.lr if x.step > int(np.argmax(x.rates)) else float(np.max(x.rates)))


def first_zero(rule: Rule, c: float) -> Rule:
    """The first rate is 0: a warm-up counted from 0."""
    return _rate(rule, lambda x: 0.0 if x.step == 0 else _at(x, x.step - 1))


def inverted(rule: Rule, c: float) -> Rule:
    """Where torch's falls, this one rises: ``lr[0]**2 / lr``."""
    return _rate(rule, lambda x: _at(x, 0) ** 2 / x.lr if x.lr else 0.0)


def gamma(rule: Rule, c: float) -> Rule:
    """``lr[0] * (lr / lr[0])**c``: the decay of each epoch has another factor."""
    # NumPy's power, infinite where Python's raises: the fit tries large exponents.
    return _rate(rule, lambda x: _at(x, 0) * float(np.power(x.lr / _at(x, 0), c)) if x.lr > 0 < _at(x, 0) else x.lr)


def value(rule: Rule, c: float) -> Rule:
    """``c * lr``."""
    return _rate(rule, lambda x: c * x.lr)


def offset(rule: Rule, c: float) -> Rule:
    """``lr + c``."""
    return _rate(rule, lambda x: x.lr + c)


def floor(rule: Rule, c: float) -> Rule:
    """``max(lr, c)``: a lower bound."""
    return _rate(rule, lambda x: max(x.lr, c))


ENTRIES = (
    Entry("rate-constant", "schedule", "The learning rate stays at its first value; torch's follows a schedule.",
          "learning_rate=schedule", constant),
    Entry("schedule-late", "schedule", "The schedule is one step late.", "the schedule of count, from 0", late),
    Entry("schedule-early", "schedule", "The schedule is one step early.", "the schedule of count, from 0", early),
    Entry("schedule-epoch-late", "schedule", "The schedule is one epoch late.", "schedule(count // steps_per_epoch)",
          epoch_late),
    Entry("schedule-epoch-early", "schedule", "The schedule is one epoch early.", "schedule(count // steps_per_epoch)",
          epoch_early),
    Entry("schedule-per-step", "schedule", "The schedule advances with each step, torch's with each epoch.",
          "schedule(count // steps_per_epoch)", per_step),
    Entry("warmup-missing", "schedule", "The warm-up is missing: the largest rate is there from the start.",
          "optax.warmup_... or funcsgd.schedules.LinearLR", no_warmup),
    Entry("warmup-from-zero", "schedule", "The first learning rate is 0, and the schedule late by a step.",
          "the schedule of count + 1", first_zero),
    Entry("schedule-inverted", "schedule",
          "The learning rate rises where torch's falls.", "lr * factor, not lr / factor",
          inverted),
    Entry("rate-value", "schedule", "The learning rate is another number.", "learning_rate={torch}", value,
          "the learning rate is {constant} times torch's", start=1.0),
    Entry("schedule-gamma", "schedule", "The factor of the schedule is another one.", "the gamma of torch's scheduler",
          gamma, "the learning rate falls as torch's to the power {constant}", start=1.0),
    Entry("schedule-offset", "schedule", "The learning rate is off by a constant, such as another last value.",
          "eta_min, end_value", offset, "the learning rate is torch's and {constant}", start=0.0),
    Entry("schedule-floor", "schedule",
          "The learning rate has a lower bound, which torch's has not.", "no min_lr", floor,
          "the learning rate never falls below {constant}, torch's does", start=0.0),
)  # fmt: skip
"""Faults of the learning rate; ``repair(rule, constant)`` plants them in torch's rule."""
