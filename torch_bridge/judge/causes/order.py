"""The order of the examples: another epoch's, not shuffled, shifted, with or without the last batch."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.trace.trace import Array

Order: TypeAlias = Sequence[Array]
"""The indices of each step's batch."""


def epoch_length(order: Order) -> int:
    """Return the number of steps in which no example comes twice."""
    seen: set[int] = set()
    for t, batch in enumerate(order):
        if seen & set(batch.tolist()):
            return t
        seen |= set(batch.tolist())
    return len(order)


def _size(order: Order) -> int:
    return max(len(batch) for batch in order)


def _epochs(order: Order) -> list[list[Array]]:
    n = max(epoch_length(order), 1)
    return [list(order[t : t + n]) for t in range(0, len(order), n)]


def epoch_shifted(torch: Order, mine: Order) -> tuple[Order, Order]:
    """``torch[t + epoch]``: the loader was iterated once more before."""
    n = epoch_length(torch)
    return torch[n:], mine[: max(len(torch) - n, 0)]


def epoch_repeated(torch: Order, mine: Order) -> tuple[Order, Order]:
    """``torch[t mod epoch]``: shuffled once, then the same in each epoch."""
    n = epoch_length(torch)
    return [torch[t % n] for t in range(len(torch))], mine


def late(torch: Order, mine: Order) -> tuple[Order, Order]:
    """``torch[t - 1]``."""
    return torch[:-1], mine[1:]


def early(torch: Order, mine: Order) -> tuple[Order, Order]:
    """``torch[t + 1]``."""
    return torch[1:], mine[:-1]


def not_shuffled(torch: Order, mine: Order) -> tuple[Order, Order]:
    """``0, 1, 2, ...`` in each epoch."""
    return [
        batch
        for epoch in _epochs(torch)
        for batch in np.split(np.arange(sum(map(len, epoch))), np.cumsum([len(b) for b in epoch])[:-1])
    ], mine


def reversed_batches(torch: Order, mine: Order) -> tuple[Order, Order]:
    """Each batch from its end."""
    return [batch[::-1] for batch in torch], mine


def reversed_epochs(torch: Order, mine: Order) -> tuple[Order, Order]:
    """Each epoch from its last batch."""
    return [batch for epoch in _epochs(torch) for batch in epoch[::-1]], mine


def sorted_batches(torch: Order, mine: Order) -> tuple[Order, Order]:
    """The examples of each batch in their own order."""
    return [np.sort(batch) for batch in torch], mine


def drop_last(torch: Order, mine: Order) -> tuple[Order, Order]:
    """Without short batches."""
    return [batch for batch in torch if len(batch) == _size(torch)], mine


def last_kept(torch: Order, mine: Order) -> tuple[Order, Order]:
    """With short batches, which torch drops."""
    return torch, [batch for batch in mine if len(batch) == _size(mine)]


def off_by_one(torch: Order, mine: Order) -> tuple[Order, Order]:
    """``index + 1``."""
    return [batch + 1 for batch in torch], mine


def batch_size(torch: Order, mine: Order) -> tuple[Order, Order]:
    """The same stream of examples, cut into batches of another size."""
    flat = [np.concatenate(list(order)) for order in (torch, mine)]
    n = min(map(len, flat))
    return [flat[0][:n]], [flat[1][:n]]


def other_seed(torch: Order, mine: Order) -> tuple[Order, Order]:
    """The same examples in each epoch, in another order."""
    both = [[np.sort(np.concatenate(epoch)) for epoch in _epochs(order)] for order in (torch, mine)]
    return both[0], both[1]


def with_replacement(torch: Order, mine: Order) -> tuple[Order, Order]:
    """Examples come several times in an epoch: compared is which there are at all, once repeats are left out."""
    flat = np.concatenate(list(mine)[: epoch_length(torch)])
    known = np.concatenate(list(torch))
    return [np.unique(flat)], [flat] if len(np.unique(flat)) == len(flat) else [np.intersect1d(flat, known)]


ENTRIES = (
    Entry("batches-of-the-next-epoch", "data",
          "The batches are those of torch's next epoch: a loader was iterated once more.",
          "draw the order as often as torch does: iter(loader) draws once", epoch_shifted),
    Entry("batches-late", "data", "The batches are one step late.", "batch t at step t, from 0", late),
    Entry("batches-early", "data", "The batches are one step early.", "batch t at step t, from 0", early),
    Entry("epochs-alike", "data", "Each epoch has the order of the first; torch shuffles anew.",
          "draw a permutation for each epoch, as torch_bridge.data.DataLoader does", epoch_repeated),
    Entry("not-shuffled", "data", "The examples are not shuffled.", "torch_bridge.data.DataLoader(..., shuffle=True)",
          not_shuffled),
    Entry("batch-reversed", "data", "The examples of each batch come in reverse.", "the batch as it was drawn",
          reversed_batches),
    Entry("epoch-reversed", "data", "The batches of each epoch come in reverse.", "the batches as they were drawn",
          reversed_epochs),
    Entry("batch-sorted", "data",
          "The examples of each batch are sorted.", "the batch as it was drawn", sorted_batches),
    Entry("last-batch-dropped", "data",
          "The short last batch of an epoch is dropped; torch keeps it.", "drop_last=False",
          drop_last),
    Entry("last-batch-kept", "data", "The short last batch of an epoch is kept; torch drops it.", "drop_last=True",
          last_kept),
    Entry("batch-size", "data", "The batches have another size; the examples come in torch's order.", "batch_size=...",
          batch_size),
    Entry("indices-off-by-one", "data", "Every index is one too large.", "indices from 0", off_by_one),
    Entry("order-of-another-seed", "data", "The examples are shuffled, in another order than torch's.",
          "torch_bridge.random.manual_seed(seed), then the draws of torch in torch's order", other_seed),
    Entry("drawn-with-replacement", "data",
          "Examples come several times in one epoch: they are drawn with replacement.",
          "a permutation for each epoch", with_replacement),
)  # fmt: skip
"""Faults of the order; ``repair(torch's, the port's)`` returns two orders that are equal if it is this fault."""


def same(left: Order, right: Order) -> bool:
    """True if two orders agree as far as both go, and go at least one batch."""
    pairs = list(zip(left, right, strict=False))
    return bool(pairs) and all(np.array_equal(a, b) for a, b in pairs)
