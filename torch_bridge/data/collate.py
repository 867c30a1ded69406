"""Samples into a batch: ``torch.utils.data.default_collate``, to NumPy arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack samples, structure by structure.

    Arrays and numbers are stacked, with torch's dtypes: float64 for Python floats, int64 for ints. Strings and bytes
    stay as they are. Mappings and named tuples keep their type, tuples become lists, as in torch.

    Args:
        batch: at least one sample; all of one structure.

    Returns:
        The structure of a sample, with a new first dimension in every array.

    Raises:
        RuntimeError: sequences of unequal length, with torch's message.
        TypeError: something that cannot be stacked, likewise.

    Source: ``torch/utils/data/_utils/collate.py``, torch 2.13.0.

    Example:
        >>> default_collate([(1, {"x": 2.5}), (3, {"x": 4.5})])
        [array([1, 3]), {'x': array([2.5, 4.5])}]
    """
    sample = batch[0]
    kind = type(sample)
    if isinstance(sample, str | bytes):
        return batch
    if isinstance(sample, np.ndarray | np.generic | bool | int | float):
        array = np.stack([np.asarray(value) for value in batch])
        if array.dtype.kind in "SUO":
            raise TypeError(
                f"default_collate: batch must contain tensors, numpy arrays, numbers, "
                f"dicts or lists; found {array.dtype}"
            )
        return array
    if hasattr(sample, "__array__"):  # JAX's arrays, and torch's
        return np.stack([np.asarray(value) for value in batch])
    if isinstance(sample, Mapping):
        fields = {key: default_collate([other[key] for other in batch]) for key in sample}
        try:
            return kind(fields)
        except TypeError:
            return fields
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return kind(*(default_collate(values) for values in zip(*batch, strict=True)))
    if isinstance(sample, Sequence):
        if any(len(other) != len(sample) for other in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return [default_collate(values) for values in zip(*batch, strict=True)]
    raise TypeError(f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {kind}")
