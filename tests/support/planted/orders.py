"""Faults of the order of the examples: from torch's batches of indices to the port's."""

import numpy as np


def epoch_of(order):
    """The number of steps of an epoch, from the number of examples."""
    n = max(int(batch.max()) for batch in order) + 1
    lengths = np.cumsum([len(batch) for batch in order])
    return int(np.searchsorted(lengths, n)) + 1, n


def _unshuffled(order):
    epoch, n = epoch_of(order)
    batches = np.split(np.arange(n), np.cumsum([len(batch) for batch in order[:epoch]])[:-1])
    return [batches[t % epoch] for t in range(len(order))]


def _another_seed(order):
    (epoch, n), rng = epoch_of(order), np.random.default_rng(5)
    cuts = np.cumsum([len(batch) for batch in order[:epoch]])[:-1]
    return [batch for _ in range(0, len(order), epoch) for batch in np.split(rng.permutation(n), cuts)]


def _smaller(order):
    (epoch, n), size = epoch_of(order), len(order[0]) // 2
    flat = [np.concatenate(order[t : t + epoch]) for t in range(0, len(order), epoch)]
    return [batch for each in flat for batch in np.split(each, range(size, n, size))][: len(order)]


def _reversed_epochs(order):
    epoch, _ = epoch_of(order)
    return [batch for t in range(0, len(order), epoch) for batch in order[t : t + epoch][::-1]]


def _full(order):
    whole = [batch for batch in order if len(batch) == len(order[0])]
    return (whole * 2)[: len(order)]


ORDERS = {
    "batches-of-the-next-epoch": lambda o: [*o[epoch_of(o)[0] :], *o[: epoch_of(o)[0]]],
    "epochs-alike": lambda o: [o[t % epoch_of(o)[0]] for t in range(len(o))],
    "batches-late": lambda o: [o[0], *o[:-1]],
    "batches-early": lambda o: [*o[1:], o[0]],
    "not-shuffled": _unshuffled,
    "batch-reversed": lambda o: [b[::-1] for b in o],
    "epoch-reversed": _reversed_epochs,
    "batch-sorted": lambda o: [np.sort(b) for b in o],
    "last-batch-dropped": _full,
    "batch-size": _smaller,
    "indices-off-by-one": lambda o: [b + 1 for b in o],
    "order-of-another-seed": _another_seed,
    "drawn-with-replacement": lambda o: [
        np.random.default_rng(t).integers(0, epoch_of(o)[1], len(b)) for t, b in enumerate(o)
    ],
}
"""Entry -> the port's order from torch's, a list of arrays of indices."""
