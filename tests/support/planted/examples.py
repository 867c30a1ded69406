"""Faults of the examples of a batch ``(inputs, targets)``, of NumPy or of JAX."""

import numpy as np


def of_inputs(of):
    return lambda batch: (of(batch[0]), batch[1])


def of_targets(of):
    return lambda batch: (batch[0], of(batch[1]))


INPUTS = {
    "inputs-times-255": of_inputs(lambda x: x * 255),
    "inputs-over-255": of_inputs(lambda x: x / 255),
    "inputs-times-256": of_inputs(lambda x: x * 256),
    "inputs-over-256": of_inputs(lambda x: x / 256),
    "inputs-centred": of_inputs(lambda x: 2 * x - 1),
    "inputs-not-centred": of_inputs(lambda x: (x + 1) / 2),
    "inputs-negated": of_inputs(lambda x: -x),
    "channels-reversed": of_inputs(lambda x: x[:, ::-1]),
    "inputs-scaled": of_inputs(lambda x: 1.25 * x),
    "inputs-shifted": of_inputs(lambda x: x + 0.5),
}
"""Entry -> from the right batch to that with the fault; it shows in the first layer."""
IMAGES = {
    "inputs-flipped": of_inputs(lambda x: x[..., ::-1]),
    "inputs-transposed": of_inputs(lambda x: x.swapaxes(-1, -2)),
}
"""Likewise, of images."""
TARGETS = {
    "labels-misplaced": of_targets(lambda y: y[np.arange(len(y)) - 1]),
    "labels-misplaced-back": of_targets(lambda y: y[(np.arange(len(y)) + 1) % len(y)]),
    "labels-reversed": of_targets(lambda y: y[::-1]),
}
"""Likewise; it shows in the loss."""
LABELS = {
    "labels-too-large": lambda classes: of_targets(lambda y: (y + 1) % classes),
    "labels-too-small": lambda classes: of_targets(lambda y: (y - 1) % classes),
}
"""Likewise, of a number of classes."""
SEVERAL = {
    "targets-late": of_targets(lambda y: y[:, np.arange(y.shape[1]) - 1]),
}
"""Likewise, of several targets for each example."""
