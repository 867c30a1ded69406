"""torch tensors <-> NumPy arrays, bit for bit, bfloat16 too."""

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


def to_numpy(tensor: "torch.Tensor", *, copy: bool = True) -> npt.NDArray[Any]:
    """Return a tensor as a NumPy array; bfloat16 becomes ml_dtypes' bfloat16.

    Args:
        tensor: on any device.
        copy: False may give an array that shares the tensor's memory, and changes with it.
    """
    import torch

    host = tensor.detach().cpu()
    if host.dtype == torch.bfloat16:
        array = host.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    else:
        array = host.numpy()
    return np.array(array) if copy and tensor.device.type == "cpu" else array  # from elsewhere it is a copy already


def to_tensor(array: Any) -> "torch.Tensor":
    """Return a tensor with a copy of an array, NumPy's or JAX's."""
    import torch

    host = np.array(array)
    if host.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(host.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(host)
