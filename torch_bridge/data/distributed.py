"""A rank's share of an epoch: ``torch.utils.data.distributed.DistributedSampler``."""

import math
from collections.abc import Sized

import numpy as np

from torch_bridge.data.iteration import Indices, Sampler
from torch_bridge.random import Generator


class DistributedSampler(Sampler):
    """Every ``num_replicas``-th index of an order that all ranks share.

    Equation::

        order = randperm(n) of seed + epoch, or 0 .. n - 1
        longer: order followed by itself from the start, up to a multiple of num_replicas; or cut to one if drop_last
        out = longer[rank::num_replicas]

    It draws from a stream of its own and moves no other. Call `set_epoch` before each epoch.

    Args:
        dataset: anything with a length.
        num_replicas: number of ranks; ``jax.process_count()`` if not given.
        rank: of this process; ``jax.process_index()`` if not given.
        shuffle: whether the order is random.
        seed: the same on all ranks.
        drop_last: whether to cut rather than to repeat.

    Raises:
        ValueError: a rank outside ``[0, num_replicas)``, with torch's message.

    Exactness: bitwise.

    Source: ``torch/utils/data/distributed.py``, torch 2.13.0.

    Differs from torch in: the ranks come from JAX, not from ``torch.distributed``.

    Example:
        >>> [list(DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in range(2)]
        [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            import jax

            num_replicas = jax.process_count() if num_replicas is None else num_replicas
            rank = jax.process_index() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.seed = seed
        n = len(dataset)
        dropped = num_replicas if drop_last and n % num_replicas else 0
        self.num_samples = math.ceil((n - dropped) / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples

    def source(self) -> Generator:
        """See `Sampler`."""
        return Generator(self.seed + self.epoch)

    def piece(self, number: int, source: Generator) -> Indices | None:
        """See `Sampler`."""
        if number > 0:
            return None
        n = len(self.dataset)
        order = source.randperm(n) if self.shuffle else np.arange(n)
        if not self.drop_last and n:
            order = np.resize(order, self.total_size)
        return order[: self.total_size][self.rank :: self.num_replicas]
