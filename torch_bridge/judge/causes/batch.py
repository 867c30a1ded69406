"""The examples themselves: scaled, normalised, turned round, beside another label."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.trace.trace import Array


@dataclass(frozen=True)
class Batch:
    """A batch as the port is given it.

    Attributes:
        x: the inputs: its first floating array, or its first one.
        y: the targets: its last array; None if there is one array alone.
        classes: how many labels there are, if the targets are labels.
    """

    x: Array
    y: Array | None
    classes: int = 0


def _x(batch: Batch, of: Callable[[Array], Array]) -> Batch | None:
    if not np.issubdtype(batch.x.dtype, np.floating) or batch.x.ndim == 0:
        return None
    made = of(batch.x)
    return replace(batch, x=made.astype(batch.x.dtype)) if made.shape == batch.x.shape else None


def _y(batch: Batch, of: Callable[[Array], Array]) -> Batch | None:
    if batch.y is None or batch.y.ndim == 0:
        return None
    made = of(batch.y)
    return replace(batch, y=made.astype(batch.y.dtype)) if made.shape == batch.y.shape else None


def _factor(factor: float) -> Callable[[Batch, float], Batch | None]:
    return lambda batch, c: _x(batch, lambda x: x * factor)


def scaled(batch: Batch, c: float) -> Batch | None:
    """``x / c``."""
    return _x(batch, lambda x: x / np.float64(c))


def shifted(batch: Batch, c: float) -> Batch | None:
    """``x - c``."""
    return _x(batch, lambda x: x - c)


def centred(batch: Batch, c: float) -> Batch | None:
    """``(x + 1) / 2``: the port takes ``2 * x - 1``."""
    return _x(batch, lambda x: (x + 1) / 2)


def not_centred(batch: Batch, c: float) -> Batch | None:
    """``2 * x - 1``: the port takes ``x``."""
    return _x(batch, lambda x: 2 * x - 1)


def negated(batch: Batch, c: float) -> Batch | None:
    """``-x``."""
    return _x(batch, lambda x: -x)


def squared(batch: Batch, c: float) -> Batch | None:
    """``sign(x) * sqrt(|x|)``: the port squares."""
    return _x(batch, lambda x: np.sign(x) * np.sqrt(np.abs(x)))


def channels_reversed(batch: Batch, c: float) -> Batch | None:
    """The second axis from its end: RGB or BGR."""
    return _x(batch, lambda x: x[:, ::-1]) if batch.x.ndim > 1 else None


def last_reversed(batch: Batch, c: float) -> Batch | None:
    """The last axis from its end."""
    return _x(batch, lambda x: x[..., ::-1])


def transposed(batch: Batch, c: float) -> Batch | None:
    """The last two axes changed."""
    return _x(batch, lambda x: np.swapaxes(x, -1, -2)) if batch.x.ndim > 2 else None


def labels_too_large(batch: Batch, c: float) -> Batch | None:
    """``y - 1``, from 0 to the last label."""
    return _y(batch, lambda y: (y - 1) % batch.classes if batch.classes else y - 1)


def labels_too_small(batch: Batch, c: float) -> Batch | None:
    """``y + 1``, from the last label to 0."""
    return _y(batch, lambda y: (y + 1) % batch.classes if batch.classes else y + 1)


def labels_misplaced(batch: Batch, c: float) -> Batch | None:
    """Each label beside the example before it."""
    return _y(batch, lambda y: np.roll(y, -1, 0))


def labels_misplaced_back(batch: Batch, c: float) -> Batch | None:
    """Each label beside the example behind it."""
    return _y(batch, lambda y: np.roll(y, 1, 0))


def labels_reversed(batch: Batch, c: float) -> Batch | None:
    """Labels of the batch from its end."""
    return _y(batch, lambda y: y[::-1])


def targets_late(batch: Batch, c: float) -> Batch | None:
    """``y[:, t + 1]`` in a sequence."""
    return _y(batch, lambda y: np.roll(y, -1, 1)) if batch.y is not None and batch.y.ndim > 1 else None


def targets_early(batch: Batch, c: float) -> Batch | None:
    """``y[:, t - 1]`` in a sequence."""
    return _y(batch, lambda y: np.roll(y, 1, 1)) if batch.y is not None and batch.y.ndim > 1 else None


ENTRIES = (
    Entry("inputs-times-255", "data", "The inputs are multiplied by 255 once more.", "x", _factor(1 / 255)),
    Entry("inputs-over-255", "data", "The inputs are divided by 255 once more.", "x", _factor(255.0)),
    Entry("inputs-times-256", "data", "The inputs are multiplied by 256 once more.", "x", _factor(1 / 256)),
    Entry("inputs-over-256", "data", "The inputs are divided by 256 once more.", "x", _factor(256.0)),
    Entry("inputs-centred", "data", "The inputs are 2 * x - 1, torch's are x.", "x", centred),
    Entry("inputs-not-centred", "data", "The inputs are x, torch's are 2 * x - 1.", "2 * x - 1", not_centred),
    Entry("inputs-negated", "data", "The inputs have the wrong sign.", "x", negated),
    Entry("channels-reversed", "data", "The channels come in reverse, such as BGR for RGB.", "x[:, ::-1]",
          channels_reversed),
    Entry("inputs-flipped", "data", "The last axis of the inputs comes in reverse.", "x[..., ::-1]", last_reversed),
    Entry("inputs-transposed", "data", "Rows and columns of the inputs are exchanged.", "jnp.swapaxes(x, -1, -2)",
          transposed),
    Entry("labels-too-large", "data", "Every label is one too large.", "y", labels_too_large),
    Entry("labels-too-small", "data", "Every label is one too small.", "y", labels_too_small),
    Entry("labels-misplaced", "data", "Each label stands beside the example before its own.", "y in the order of x",
          labels_misplaced),
    Entry("labels-misplaced-back", "data", "Each label stands beside the example after its own.", "y in the order of x",
          labels_misplaced_back),
    Entry("labels-reversed", "data", "The labels of a batch come in reverse.", "y in the order of x", labels_reversed),
    Entry("targets-late", "data", "The targets of a sequence are one place late.", "y[:, 1:]", targets_late),
    Entry("targets-early", "data", "The targets of a sequence are one place early.", "y[:, :-1]", targets_early),
    Entry("inputs-scaled", "data", "The inputs have another factor.", "x", scaled,
          "the inputs are {constant} times torch's", start=1.0),
    Entry("inputs-shifted", "data", "A constant is added to the inputs.", "x", shifted,
          "{constant} is added to the inputs", start=0.0),
)  # fmt: skip
"""Faults of the examples; ``repair(batch, constant)`` undoes them on the port's side; None where it does not apply."""
