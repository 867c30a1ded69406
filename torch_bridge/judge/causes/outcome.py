"""Loss and gradients as numbers: of a sum or a mean, scaled, with a penalty, without some parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.trace.trace import Array


@dataclass(frozen=True)
class Outcome:
    """A port's loss and gradients at one step, in float64, under torch's names.

    Attributes:
        loss: the loss.
        gradients: name -> array.
        params: torch's parameters, which the port was given.
        torchs: torch's gradients.
        n: how many examples the batch has.
        width: how many targets an example has; 1 for classes.
        uniform: the mean of the outcomes with every label in turn for all examples; None without labels of classes.
    """

    loss: float
    gradients: Mapping[str, Array]
    params: Mapping[str, Array]
    torchs: Mapping[str, Array]
    n: int
    width: int = 1
    uniform: "Callable[[], Outcome] | None" = None

    def each(self, of: Callable[[str, Array], Array], loss: float) -> "Outcome":
        """Return it with another loss, and with ``of(name, gradient)``."""
        return replace(self, loss=loss, gradients={name: of(name, g) for name, g in self.gradients.items()})

    def times(self, factor: float) -> "Outcome":
        """Return it scaled."""
        return self.each(lambda name, g: g * factor, self.loss * factor)


def summed(x: Outcome, c: float) -> Outcome:
    """``loss / n``."""
    return x.times(1 / x.n)


def mean_for_sum(x: Outcome, c: float) -> Outcome:
    """``loss * n``."""
    return x.times(x.n)


def summed_over_targets(x: Outcome, c: float) -> Outcome:
    """``loss / width``."""
    return x.times(1 / x.width)


def mean_over_targets(x: Outcome, c: float) -> Outcome:
    """``loss * width``."""
    return x.times(x.width)


def summed_over_all(x: Outcome, c: float) -> Outcome:
    """``loss / (n * width)``."""
    return x.times(1 / (x.n * x.width))


def halved(x: Outcome, c: float) -> Outcome:
    """``2 * loss``."""
    return x.times(2.0)


def doubled(x: Outcome, c: float) -> Outcome:
    """``loss / 2``."""
    return x.times(0.5)


def negated(x: Outcome, c: float) -> Outcome:
    """``-loss``."""
    return x.times(-1.0)


def in_bits(x: Outcome, c: float) -> Outcome:
    """``loss * ln 2``: logarithms to the base 2."""
    return x.times(float(np.log(2)))


def scaled(x: Outcome, c: float) -> Outcome:
    """``loss / c``."""
    return x.times(1 / c if c else np.inf)


def shifted(x: Outcome, c: float) -> Outcome:
    """``loss - c``, which no gradient shows."""
    return replace(x, loss=x.loss - c)


def gradient_negated(x: Outcome, c: float) -> Outcome:
    """``-gradient``."""
    return x.each(lambda name, g: -g, x.loss)


def gradient_summed(x: Outcome, c: float) -> Outcome:
    """``gradient / n``."""
    return x.each(lambda name, g: g / x.n, x.loss)


def gradient_averaged(x: Outcome, c: float) -> Outcome:
    """``gradient * n``."""
    return x.each(lambda name, g: g * x.n, x.loss)


def gradient_scaled(x: Outcome, c: float) -> Outcome:
    """``gradient / c``."""
    return x.each(lambda name, g: g / np.float64(c), x.loss)


def frozen(x: Outcome, c: float) -> Outcome:
    """Torch's gradient where the port's is zero throughout."""
    return x.each(lambda name, g: g if np.any(g) else x.torchs.get(name, g), x.loss)


def _penalty(x: Outcome, c: float, of: Callable[[Array], bool]) -> Outcome:
    loss = x.loss - c / 2 * sum(float(np.sum(p * p)) for p in x.params.values() if of(p))
    return x.each(lambda name, g: g - c * x.params[name] if of(x.params[name]) else g, loss)


def l2(x: Outcome, c: float) -> Outcome:
    """``loss - c / 2 * sum(p**2)``."""
    return _penalty(x, c, lambda p: True)


def l2_of_matrices(x: Outcome, c: float) -> Outcome:
    """``loss - c / 2 * sum(p**2)`` of parameters with more than one axis."""
    return _penalty(x, c, lambda p: p.ndim > 1)


def l1(x: Outcome, c: float) -> Outcome:
    """``loss - c * sum(|p|)``; the derivative of ``jnp.abs`` at 0 is 1, torch's is 0."""
    loss = x.loss - c * sum(float(np.sum(np.abs(p))) for p in x.params.values())
    return x.each(lambda name, g: g - c * np.where(x.params[name] < 0, -1.0, 1.0), loss)


def l2_in_gradient(x: Outcome, c: float) -> Outcome:
    """``gradient - c * p``: decay that is not in the loss."""
    return x.each(lambda name, g: g - c * x.params[name], x.loss)


def smoothed(x: Outcome, c: float) -> Outcome:
    """``(loss - c * uniform) / (1 - c)``: smoothing leaves the mean over all labels as it is."""
    if x.uniform is None or c >= 1:
        return x.times(np.inf)
    u = x.uniform()
    return x.each(lambda name, g: (g - c * u.gradients[name]) / (1 - c), (x.loss - c * u.loss) / (1 - c))


ENTRIES = (
    Entry("loss-summed", "loss",
          "The loss is the sum over the examples, torch's is their mean.", "losses.mean()", summed),
    Entry("loss-averaged", "loss", "The loss is the mean over the examples, torch's is their sum.", "losses.sum()",
          mean_for_sum),
    Entry("loss-summed-over-targets", "loss",
          "The loss is the sum over the targets of an example, torch's is their mean.",
          "losses.mean()", summed_over_targets),
    Entry("loss-averaged-over-targets", "loss",
          "The loss is the mean over the targets of an example, torch's is their sum.", "losses.sum(-1).mean()",
          mean_over_targets),
    Entry("loss-summed-over-all", "loss", "The loss is the sum over examples and targets, torch's is their mean.",
          "losses.mean()", summed_over_all),
    Entry("loss-halved", "loss",
          "The loss has a factor of one half, which torch's lacks.", "losses.mean(), without / 2",
          halved),
    Entry("loss-doubled", "loss", "The loss is twice torch's.", "losses.mean()", doubled),
    Entry("loss-negated", "loss", "The loss has the wrong sign.", "-log_p, not log_p", negated),
    Entry("loss-in-bits", "loss", "The logarithm is that to the base 2.", "jnp.log, not jnp.log2", in_bits),
    Entry("gradient-negated", "gradient",
          "The gradients have the wrong sign; the loss is torch's.", "gradients as they are",
          gradient_negated),
    Entry("gradient-summed", "gradient", "The gradients are summed over the examples; the loss is torch's mean.",
          "jax.lax.pmean in place of psum, or / n", gradient_summed),
    Entry("gradient-averaged", "gradient", "The gradients are divided by the number of examples once more.",
          "no second division by n", gradient_averaged),
    Entry("parameters-frozen", "gradient", "Parameters have a gradient of zero in the port and one in torch.",
          "no jax.lax.stop_gradient, and all parameters among those that are differentiated", frozen),
    Entry("loss-scaled", "loss", "The loss has another factor.", "losses.mean()", scaled,
          "the loss is {constant} times torch's", start=1.0),
    Entry("label-smoothing", "loss",
          "The labels are smoothed, torch's are not (or by another share; below 0: torch's are).",
          "optax.smooth_labels as torch's label_smoothing", smoothed,
          "the labels are smoothed by {constant} more than torch's", start=0.01),
    Entry("loss-shifted", "loss", "A constant is added to the loss, which no gradient shows.", "losses.mean()", shifted,
          "{constant} is added to the loss, and no gradient shows it", start=0.0),
    Entry("gradient-scaled", "gradient",
          "The gradients have another factor; the loss is torch's.", "gradients as they are",
          gradient_scaled, "the gradients are {constant} times torch's, the loss is equal", start=1.0),
    Entry("l2-in-loss", "loss",
          "The loss has an l2 penalty, which torch's lacks (or another one).", "no penalty in the loss", l2,
          "the loss has a penalty of {constant} / 2 * sum(p**2) more than torch's", start=0.0),
    Entry("l2-of-matrices-in-loss", "loss", "The loss has an l2 penalty of the weights, which torch's lacks.",
          "no penalty in the loss", l2_of_matrices,
          "the loss has a penalty of {constant} / 2 * sum(p**2) of the weights more than torch's", start=0.0),
    Entry("l1-in-loss", "loss", "The loss has an l1 penalty, which torch's lacks.", "no penalty in the loss", l1,
          "the loss has a penalty of {constant} * sum(|p|) more than torch's", start=0.0),
    Entry("decay-in-gradient", "gradient", "The gradients hold a weight decay, which the loss does not.",
          "weight decay in the rule alone", l2_in_gradient, "the gradients hold {constant} * p more than torch's",
          start=0.0),
)  # fmt: skip
"""Faults that show as numbers; ``repair(outcome, constant)`` undoes them on the port's side."""
