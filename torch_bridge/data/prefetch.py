"""Around a loop over batches: copies to the device ahead of time, and a progress bar."""

from collections import deque
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

T = TypeVar("T")


def prefetch_to_device(batches: Iterable[T], size: int = 2, device: Any = None) -> Iterator[T]:
    """Copy batches to a device while earlier ones are in use.

    JAX copies in the background, so a few copies under way are enough. The batches are taken, and drawn, `size` - 1
    ahead of use: a loader's `state` then counts those, too.

    Args:
        batches: trees of arrays.
        size: batches on the device, 1 or more.
        device: a ``jax.Device`` or a sharding; JAX's default device if not given.

    Yields:
        The same trees, of JAX arrays.

    Raises:
        ValueError: `size` below 1.

    Example:
        >>> import numpy as np
        >>> [batch.sum().item() for batch in prefetch_to_device([np.ones(2), np.ones(3)])]
        [2.0, 3.0]
    """
    if size < 1:
        raise ValueError(f"size should be a positive integer value, but got size={size}")
    return _copied(batches, size, device)


def _copied(batches: Iterable[T], size: int, device: Any) -> Iterator[T]:
    import jax

    under_way: deque[T] = deque()
    for batch in batches:
        under_way.append(jax.device_put(batch, device))
        if len(under_way) == size:
            yield under_way.popleft()
    yield from under_way


def with_progress(batches: Iterable[T], description: str = "epoch", disable: bool = False) -> Iterator[T]:
    """Show a progress bar in the terminal while batches go by.

    Args:
        batches: anything iterable; with a length, the bar has an end.
        description: stands before the bar.
        disable: show nothing.

    Yields:
        The same batches.

    Example:
        >>> list(with_progress(range(3), disable=True))
        [0, 1, 2]
    """
    from rich.progress import track

    total = len(batches) if isinstance(batches, Sized) else None
    return iter(track(batches, description, total=total, transient=True, disable=disable))
