"""Exponential numbers: ``Tensor.exponential_``."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from torch_bridge.random.dtypes import FLOATING, TORCH_NAMES, MemoryOrder, Shape, arrange, as_dtype, cast, element_count
from torch_bridge.random.mersenne_twister import State
from torch_bridge.random.uniform import draw_unit_64


def draw_exponential(
    state: State,
    shape: Shape,
    rate: float = 1.0,
    dtype: DTypeLike = np.float32,
    memory_order: MemoryOrder = None,
) -> tuple[NDArray[Any], State]:
    """Draw exponential numbers.

    Equation: ``out = -1 / rate * log1p(-u)`` in float64, then rounded to the dtype, with ``u`` of `draw_unit_64`.

    Args:
        state: where the stream stands.
        shape: of the result.
        rate: torch's ``lambd``, positive; the mean is its inverse.
        dtype: float32, float64, bfloat16 or float16.
        memory_order: see `torch_bridge.random.dtypes.dimension_order`.

    Returns:
        The array and the state two words an element further.

    Raises:
        RuntimeError: ``rate`` not positive, or a dtype that is not floating; torch's messages.

    Exactness: bitwise where Python and torch run on one C library, whose ``log1p`` this calls (glibc 2.36 tested);
    `rounding` between different ones, and on builds of torch that use MKL's generators.

    Source: ``aten/src/ATen/core/TransformationHelper.h``, ``exponential``, torch 2.13.0.
    """
    dtype = as_dtype(dtype)
    if not rate > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
    if dtype not in FLOATING:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. "
            f"dtype must be a floating point but you specified {TORCH_NAMES.get(dtype.name, dtype.name)}"
        )
    uniforms, state = draw_unit_64(state, element_count(shape))
    # NumPy's own log1p is a vectorised one that differs from the C library's in the last bit.
    logs = np.fromiter(map(math.log1p, (-uniforms).tolist()), np.float64, len(uniforms))
    return arrange(cast((-1.0 / float(rate)) * logs, dtype), shape, memory_order), state
