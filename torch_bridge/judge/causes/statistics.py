"""Running statistics, as BatchNorm keeps them: what mistakes make of torch's. They act at evaluation alone.

``repair(before, new, momentum, constant)`` is the port's value: of torch's before the step, the batch's own statistic,
and torch's momentum, the share of the new value. `torch_bridge.judge.buffer_causes` tries them.
"""

from torch_bridge.judge.causes.entry import Entry

BIASED = Entry(
    "variance-biased", "statistics",
    "The running variance is made of biased variances, divided by n, where torch divides by n - 1, as in flax's "
    "BatchNorm; it acts at evaluation alone.",
    "multiply the batch's variance by n / (n - 1) before it is averaged, n the values of a channel",
    lambda before, new, momentum, n: (1 - momentum) * before + momentum * new * (1 - 1 / n), start=32.0,
)  # fmt: skip
REVERSED = Entry(
    "momentum-reversed", "statistics",
    "The momentum is reversed: torch's is the share of the new value, flax's that of the old one; it acts at "
    "evaluation alone.",
    "momentum=1 - momentum, such as flax's 0.9 for torch's 0.1",
    lambda before, new, momentum, _: momentum * before + (1 - momentum) * new,
)  # fmt: skip
NOT_UPDATED = Entry(
    "statistics-not-updated", "statistics", "The buffer is not updated.",
    "keep what the forward pass returns as the new model state",
    lambda before, new, momentum, _: before,
)  # fmt: skip
NOT_COUNTED = Entry(
    "batches-not-counted", "statistics", "Batches are not counted.",
    "num_batches_tracked + 1 at each forward pass in training",
    lambda before, new, momentum, _: before,
)  # fmt: skip
OTHER_MOMENTUM = Entry(
    "statistics-momentum", "statistics", "The momentum of running statistics is another number.",
    "momentum={torch} in torch's sense, the share of the new value",
    lambda before, new, momentum, c: (1 - c) * before + c * new,
    "the running statistics take {constant} of the new value, torch's {torch}", start=0.1, number="momentum",
)  # fmt: skip
ENTRIES = (BIASED, REVERSED, NOT_UPDATED, NOT_COUNTED, OTHER_MOMENTUM)
