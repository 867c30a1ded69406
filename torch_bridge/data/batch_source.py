"""torch's order for grain: whole batches behind ``__len__`` and ``__getitem__``."""

from typing import Any

from torch_bridge.data.iteration import Indices
from torch_bridge.data.loader import DataLoader


class BatchSource:
    """The batches of some epochs of a `DataLoader`, by number.

    grain shards and prefetches what it reads from a source by index. Given samples, it would batch them in its own
    order; given whole batches it keeps torch's: ``grain.MapDataset.source(BatchSource(loader))``. Nothing of grain is
    imported: anything that reads sequences will do.

    Args:
        loader: its streams move now, as if the epochs had been iterated one after another.
        epochs: how many.

    Example:
        >>> source = BatchSource(DataLoader(range(5), batch_size=2), epochs=2)
        >>> len(source), source[2], source[3]
        (6, array([4]), array([0, 1]))
    """

    def __init__(self, loader: DataLoader, epochs: int = 1) -> None:
        self._loader = loader
        self._batches: list[Indices] = []
        for _ in range(epochs):
            loader.order.draw_base_seed()
            self._batches.extend(loader.order.index_pass())

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> Any:
        return self._loader.load(self._batches[number])
