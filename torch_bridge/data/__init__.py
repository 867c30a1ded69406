"""torch's data order without torch: samplers and `DataLoader`, drawing when torch's draw.

`torch_bridge.data.traced` has the order of a shuffled epoch for use inside ``jax.jit``.
"""

from torch_bridge.data.batch_sampler import BatchSampler as BatchSampler
from torch_bridge.data.batch_source import BatchSource as BatchSource
from torch_bridge.data.collate import default_collate as default_collate
from torch_bridge.data.dataset import ArrayDataset as ArrayDataset
from torch_bridge.data.dataset import FileDataset as FileDataset
from torch_bridge.data.dataset import Subset as Subset
from torch_bridge.data.dataset import random_split as random_split
from torch_bridge.data.distributed import DistributedSampler as DistributedSampler
from torch_bridge.data.iteration import Sampler as Sampler
from torch_bridge.data.loader import DataLoader as DataLoader
from torch_bridge.data.loader_iterator import LoaderIterator as LoaderIterator
from torch_bridge.data.prefetch import prefetch_to_device as prefetch_to_device
from torch_bridge.data.prefetch import with_progress as with_progress
from torch_bridge.data.sampler import RandomSampler as RandomSampler
from torch_bridge.data.sampler import SequentialSampler as SequentialSampler
from torch_bridge.data.sampler import SubsetRandomSampler as SubsetRandomSampler
from torch_bridge.data.sampler import WeightedRandomSampler as WeightedRandomSampler

__all__ = [
    "ArrayDataset",
    "BatchSampler",
    "BatchSource",
    "DataLoader",
    "DistributedSampler",
    "FileDataset",
    "LoaderIterator",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
    "default_collate",
    "prefetch_to_device",
    "random_split",
    "with_progress",
]
