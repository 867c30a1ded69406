"""The function itself: a constant in it, a stopped gradient."""

from torch_bridge.judge.causes.entry import Entry

CONSTANT = Entry(
    "constant-of-the-function", "forward", "A constant in the function is another number, such as an epsilon.",
    "{torch} in place of {constant}", lambda constant, change: constant / (1 + change),
    "the constant {constant} is {torch} in torch", start=0.0,
)  # fmt: skip
"""``repair(constant, change)`` is torch's constant; `torch_bridge.judge.constants` fits the change."""

ENTRIES = (CONSTANT,)
"""Faults of the function; they are undone in its program."""
