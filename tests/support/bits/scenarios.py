"""Which programs are asked for their bits, and in which of them the marked arithmetic is known to lose some.

Everything crossed with everything would be ten thousand leaves to compile. So each scenario takes two shapes of each
kind, others in the next one: after seven of them every kind has met every shape, and after all of them every pair of
(flags, hyperparameters, dtype) has met every kind and every shape.
"""

import itertools
from typing import NamedTuple

from funcsgd.arithmetic.marks import INTERLEAVES, SHORT
from tests.support.bits.programs import DTYPES, FLAGS, HYPERPARAMETERS, KINDS, SHAPES, Plan

IN_OTHER_DRIVES = ("product", "transposed", "broadcast", "relu mask")
DRIVES = ("scan", "vmap of scan", "several updates", "shard_map", "FSDP")


class Scenario(NamedTuple):
    """One program and its data."""

    drive: str
    flags: tuple[str, ...]
    how: str
    dtype: str
    offset: int

    def __str__(self) -> str:
        return f"{self.drive}, {'+'.join(self.flags) or 'plain'}, {self.how}, {self.dtype}, shapes from {self.offset}"

    def plan(self) -> Plan:
        """The shapes of each kind."""
        kinds = tuple(KINDS) if self.drive == "call" else IN_OTHER_DRIVES
        n = len(SHAPES)
        starts = {kind: i + self.offset for i, kind in enumerate(kinds)}
        return {kind: (SHAPES[start % n], SHAPES[(start + n // 2) % n]) for kind, start in starts.items()}


def short_list() -> list[Scenario]:
    """Every set of flags, every way to give hyperparameters, each dtype, each drive: some of their combinations."""
    calls = [Scenario("call", flags, HYPERPARAMETERS[i % 3], DTYPES[i % 4 == 3], i) for i, flags in enumerate(FLAGS)]
    others = [
        Scenario(drive, FLAGS[(2 * i + 4) % 8], HYPERPARAMETERS[(i + 1) % 3], DTYPES[i % 4 == 3], 3 * i)
        for i, drive in enumerate(DRIVES)
    ]
    return calls + others


def long_list() -> list[Scenario]:
    """Flags by hyperparameters by dtypes for programs that are called, and flags by drives for the others."""
    crossed = itertools.product(DTYPES, HYPERPARAMETERS, FLAGS)
    calls = [Scenario("call", flags, how, dtype, i) for i, (dtype, how, flags) in enumerate(crossed)]
    drives = itertools.product(DRIVES, FLAGS)
    others = [
        Scenario(drive, flags, HYPERPARAMETERS[i % 3], DTYPES[i // 3 % 2], i) for i, (drive, flags) in enumerate(drives)
    ]
    return calls + others


def is_known_gap(shape: tuple[int, ...]) -> bool:
    """Where the marked arithmetic is not `bitwise`: `funcsgd.exactness` finds it too, and the manifest names it."""
    return INTERLEAVES and len(shape) > 1 and shape[-1] <= SHORT
