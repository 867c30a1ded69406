"""The moving average of the parameters: another decay, started or fed otherwise."""

from dataclasses import dataclass, replace

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.trace.trace import Array


@dataclass(frozen=True)
class Followed:
    """A parameter and its average at one step, in float64.

    Attributes:
        average: torch's average before the step.
        before: the parameter before the step.
        after: the port's parameter after it.
        n: how many parameters torch's average holds.
        decay: torch's, of an exponential average; 0 of an equal one.
    """

    average: Array
    before: Array
    after: Array
    n: int
    decay: float


def torchs(x: Followed, c: float = 0.0) -> Array:
    """``decay * a + (1 - decay) * p``, or ``a + (p - a) / (n + 1)``; the first is a copy."""
    if x.n == 0:
        return x.after
    return _ema(x, x.decay, x.after) if x.decay else x.average + (x.after - x.average) / (x.n + 1)


def _ema(x: Followed, decay: float, p: Array) -> Array:
    return decay * x.average + (1 - decay) * p


def value(x: Followed, c: float) -> Array:
    """``c * a + (1 - c) * p``."""
    return x.after if x.n == 0 else _ema(x, c, x.after)


def from_start(x: Followed, c: float) -> Array:
    """The average begins at the initial parameters: no copy."""
    return _ema(x, x.decay, x.after) if x.decay else x.average + (x.after - x.average) / (x.n + 2)


def value_from_start(x: Followed, c: float) -> Array:
    """Another decay, and no copy at first."""
    return _ema(x, c, x.after)


def before_step(x: Followed, c: float) -> Array:
    """The parameters before the step are averaged; that the first is a copy makes no difference then."""
    return torchs(replace(x, after=x.before))


def from_zero(x: Followed, c: float) -> Array:
    """The average begins at zero, as an average of gradients does."""
    return _ema(x, x.decay, x.after) - (x.decay * x.average if x.n == 0 else 0.0)


def still(x: Followed, c: float) -> Array:
    """The average does not move."""
    return x.average


def copied(x: Followed, c: float) -> Array:
    """The average is the parameter."""
    return x.after


def swapped(x: Followed, c: float) -> Array:
    """``(1 - decay) * a + decay * p``."""
    return x.after if x.n == 0 else _ema(x, 1 - x.decay, x.after)


def warmed(x: Followed, c: float) -> Array:
    """``decay = min(decay, (1 + n) / (10 + n))``."""
    return x.after if x.n == 0 else _ema(x, min(x.decay, (1 + x.n) / (10 + x.n)), x.after)


ENTRIES = (
    Entry("average-from-start", "average",
          "The average begins at the initial parameters; torch copies those after the first update.",
          "averages.ema(decay)", from_start),
    Entry("average-from-zero", "average",
          "The average begins at zero, as optax.ema does; torch copies the parameters after the first update.",
          "averages.ema(decay)", from_zero),
    Entry("average-before-step", "average", "The parameters before the update are averaged, in torch those after it.",
          "average after optax.apply_updates", before_step),
    Entry("average-still", "average",
          "The average is never updated.", "keep the state that the average returns", still),
    Entry("average-copied", "average", "The average is the parameter itself.", "averages.ema(decay)", copied),
    Entry("average-swapped", "average", "The weights of average and parameter are swapped.",
          "decay * a + (1 - decay) * p", swapped),
    Entry("average-warmed", "average", "The decay is that of TensorFlow's, (1 + n) / (10 + n) at first.",
          "a constant decay", warmed),
    Entry("average-decay", "average", "The decay of the average is another number.", "averages.ema({torch})", value,
          "the decay of the average is {constant}, torch has {torch}", start=0.99, number="decay"),
    Entry("average-decay-from-start", "average",
          "The decay is another number, and the average begins at the initial parameters.",
          "averages.ema({torch})", value_from_start,
          "the decay of the average is {constant}, torch has {torch}, and copies first", start=0.99, number="decay"),
)  # fmt: skip
"""Faults of the average; ``repair(followed, constant)`` is the port's average with the fault."""
