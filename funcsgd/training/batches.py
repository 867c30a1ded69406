"""The samples of each update: index arrays that are checked before anything runs, and orders drawn in the program.

The spectrum of noise, from the least to the most: the full gradient is ``batches=None``, mini-batches are a batch size
between, pure SGD is a batch size of 1.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


@dataclass(frozen=True)
class BatchOrder:
    """A way for the program to draw the order of an epoch by itself.

    Attributes:
        draw: ``draw(key) -> (order, key)``: integers of shape ``(samples,)``, and what the next epoch draws from. The
            first ``key`` is what `train` was given: a key of ``jax.random``, the state of another generator. If an
            index is out of range, all losses of that epoch are NaN.
        samples: number of indices that a draw gives.
        batch_size: from 1; the order is cut into batches of so many.
        drop_last: leave a short last batch out, as ``DataLoader(drop_last=True)`` does.
        of: number of samples that the indices are of, which the data must then have; None leaves it to ``draw``.
    """

    draw: Callable[[Any], tuple[jax.Array, Any]]
    samples: int
    batch_size: int
    drop_last: bool = False
    of: int | None = None

    def __post_init__(self) -> None:
        for name in ("samples", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(f"{name} must be an integer, but is {value!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but is {self.batch_size}")
        if self.samples < (self.batch_size if self.drop_last else 1):
            raise ValueError(f"{self.samples} samples give no batch of {self.batch_size}: an epoch would be empty")


@functools.lru_cache(
    None, typed=True
)  # equal orders are the same object, so that a second run finds its compiled program
def batch_order(samples: int, batch_size: int, *, replacement: bool = False, drop_last: bool = False) -> BatchOrder:
    """Random batches, drawn inside the program by ``jax.random``: without replacement, or with.

    Equation::

        order = permutation of 0 .. samples - 1                      each sample once an epoch
        order = samples independent draws from 0 .. samples - 1      replacement=True
        B_k = order[k * batch_size : (k + 1) * batch_size]

    Args:
        samples: number of samples in the data, from 1.
        batch_size: 1 is pure SGD; for the full gradient give `train` no batches at all.
        replacement: draw each index anew, as theory mostly assumes, instead of shuffling once an epoch.
        drop_last: leave a short last batch out.

    Returns:
        A `BatchOrder` for `train`, whose ``key`` is then a key of ``jax.random``.

    Raises:
        ValueError: a size below 1, or an epoch without a batch.
        TypeError: a size that is no integer.

    Differs from torch's samplers in: the numbers. For torch's own orders take ``DataLoader.index_batches`` of
    ``torch_bridge.data``, or ``shuffled_epoch`` of ``torch_bridge.data.traced`` in a `BatchOrder`.

    Example:
        >>> import jax
        >>> order, _ = batch_order(5, 2).draw(jax.random.key(0))
        >>> sorted(order.tolist())
        [0, 1, 2, 3, 4]
    """

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        key, now = jax.random.split(key)
        if replacement:
            return jax.random.randint(now, (samples,), 0, samples), key
        return jax.random.permutation(now, samples), key

    return BatchOrder(draw, samples, batch_size, drop_last, of=samples)


class Rows(NamedTuple):
    """The batches of an epoch, or stacked those of several.

    Attributes:
        full: integers, shape ``(..., batches, batch_size)``; None where there are none.
        rest: integers, shape ``(..., n)``, the short last batch; None where there is none.
    """

    full: Any
    rest: Any

    @property
    def own(self) -> bool:
        """Whether each epoch has its own."""
        return bool(self.rest.ndim == 2 if self.full is None else self.full.ndim == 3)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of samples of each update of an epoch."""
        full = () if self.full is None else (self.full.shape[-1],) * self.full.shape[-2]
        return full if self.rest is None else (*full, self.rest.shape[-1])


def cut(order: jax.Array, how: BatchOrder) -> Rows:
    """Cut a drawn order, shape ``(samples,)``, into batches."""
    whole = how.samples // how.batch_size * how.batch_size
    full = order[:whole].reshape(-1, how.batch_size) if whole else None
    return Rows(full, order[whole:] if whole < how.samples and not how.drop_last else None)


def checked_rows(batches: ArrayLike, samples: int) -> Rows:
    """Split an index array into full batches and the short last one, refusing what would be read wrongly.

    Args:
        batches: integers, shape ``(epochs, steps, batch)`` or ``(steps, batch)``; -1 fills the end of the last batch of
            an epoch. The values of a tracer are unknown: its indices are taken as full batches.
        samples: number of samples in the data.

    Returns:
        `Rows`, as int32 NumPy arrays.

    Raises:
        ValueError: another shape, a type that is no integer, an index out of range, filling anywhere else.
    """
    batches = batches if isinstance(batches, jax.Array) else np.asarray(batches)
    shape = batches.shape
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(
            f"batches must have shape (epochs, steps, batch), or (steps, batch) for every epoch alike, but has {shape}"
        )
    if not jnp.issubdtype(batches.dtype, jnp.integer):
        raise ValueError(f"batches must be integers, the indices of samples, but are {batches.dtype}")
    if isinstance(batches, jax.core.Tracer):
        return Rows(batches, None)
    indices = np.asarray(batches)
    if indices.max() >= samples or indices.min() < -1:
        wrong = np.argwhere((indices >= samples) | (indices < -1))[0]
        raise ValueError(
            f"batches{wrong.tolist()} is {indices[tuple(wrong)]}, but there are {samples} samples: indices go "
            f"from 0 to {samples - 1}, and -1 fills up a short last batch"
        )
    filled = indices == -1
    short = int(filled[..., -1, :].sum(-1).max())
    expected = np.zeros_like(filled)
    if short:
        expected[..., -1, -short:] = True
    if short == indices.shape[-1] or not np.array_equal(filled, expected):
        wrong = np.argwhere(filled != expected) if short < indices.shape[-1] else np.argwhere(filled)
        raise ValueError(
            f"batches{wrong[0].tolist()} is {indices[tuple(wrong[0])]}: -1 may only fill the end of each epoch's last "
            "batch, and equally far in every epoch"
        )
    indices = indices.astype(np.int32)
    if not short:
        return Rows(indices, None)
    return Rows(indices[..., :-1, :] if indices.shape[-2] > 1 else None, indices[..., -1, :-short])


def count_samples(data: Any) -> int | None:
    """Return the length that all arrays of the data share along their first axis; None if there are no arrays.

    Raises:
        ValueError: they do not share one.
    """
    lengths = {
        jax.tree_util.keystr(path) or "data": np.shape(leaf)[0] if np.shape(leaf) else None
        for path, leaf in jax.tree_util.tree_leaves_with_path(data)
    }
    if len(set(lengths.values())) > 1 or None in lengths.values():
        found = ", ".join(f"{path}: {'a scalar' if n is None else n}" for path, n in lengths.items())
        raise ValueError(f"the arrays of the data must share their first axis, one entry a sample, but have {found}")
    return next(iter(lengths.values()), None)


def take(data: Any, rows: jax.Array) -> Any:
    """Gather the samples of a batch; XLA takes the nearest sample for an index out of range."""
    return jax.tree.map(lambda x: jnp.asarray(x).at[rows].get(mode="promise_in_bounds"), data)


def are_in_range(rows: Rows, data: Any) -> jax.Array:
    """Whether all indices are those of samples: for indices that are only known when the program runs.

    Asked once an epoch and not where samples are gathered: there it would change how the compiler fuses the update.
    """
    samples = count_samples(data)
    return jnp.array([jnp.all((part >= 0) & (part < samples)) for part in jax.tree.leaves(rows)]).all()
