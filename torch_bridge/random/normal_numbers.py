"""Normal numbers: ``torch.randn`` and ``Tensor.normal_``, by Box and Muller's transform in torch's two ways."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from torch_bridge.random import cephes
from torch_bridge.random.dtypes import (
    MemoryOrder,
    Shape,
    arrange,
    cast,
    element_count,
    floating_dtype,
    is_row_major,
)
from torch_bridge.random.fma import fma32, fma64
from torch_bridge.random.mersenne_twister import State
from torch_bridge.random.uniform import draw_unit_32, draw_unit_64

BLOCK = 16  # torch's vectorised fill turns 16 uniforms into 16 normals
CACHED = 2**16  # numbers transformed at a time: they stay in the processor's cache


def draw_normal(
    state: State,
    shape: Shape,
    mean: float = 0.0,
    std: float = 1.0,
    dtype: DTypeLike = np.float32,
    memory_order: MemoryOrder = None,
) -> tuple[NDArray[Any], State]:
    """Draw normal numbers.

    Equation. Fewer than 16 elements, or not row-major: in float64 whatever the dtype, one by one, with ``u`` of
    `draw_unit_64`::

        radius = sqrt(-2 log1p(-u2));  angle = 2 pi u1
        out = fl(radius cos(angle) * std + mean);  the next: fl(radius sin(angle) * std + mean)

    The second value of a pair waits in the state, across calls, dtypes and anything drawn in between. Otherwise in
    blocks of 16 uniforms of the dtype (bfloat16 and float16: of float32)::

        radius = sqrt(-2 log(1 - u[j]));  angle = 2 pi u[j + 8]                        j = 0 .. 7
        out[j] = fl(radius cos(angle) * std + mean);  out[j + 8] likewise with sin

    and if 16 does not divide the count, 16 new uniforms overwrite the last 16 elements.

    Args:
        state: where the stream stands.
        shape: of the result.
        mean: the mean.
        std: the standard deviation, at least 0.
        dtype: float32, float64, bfloat16 or float16.
        memory_order: see `torch_bridge.random.dtypes.dimension_order`.

    Returns:
        The array and the next state.

    Raises:
        RuntimeError: ``std`` negative or NaN, with torch's message.
        NotImplementedError: a dtype that is not floating.

    Exactness: bitwise on x86-64 CPUs with AVX2 and FMA. The float64 transform, which also serves fewer than 16
    elements of any dtype, calls ``log``, ``log1p``, ``sin`` and ``cos`` of the C library under Python, as torch does:
    bitwise where both run on one C library (glibc 2.36 tested), `rounding` between different ones.

    Source: ``aten/src/ATen/native/cpu/DistributionTemplates.h``, ``normal_kernel``, torch 2.13.0.

    Example:
        >>> from torch_bridge.random.mersenne_twister import seeded
        >>> draw_normal(seeded(0), 2)[0]  # torch.manual_seed(0); torch.randn(2)
        array([ 1.5409961, -0.2934289], dtype=float32)
    """
    dtype = floating_dtype(dtype, "normal_kernel_cpu")
    mean, std = float(mean), float(std)
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    count = element_count(shape)
    if count < BLOCK or not is_row_major(shape, memory_order):
        serial, state = _draw_one_by_one(state, count, mean, std)
        return arrange(cast(serial, dtype), shape, memory_order), state

    draw = draw_unit_64 if dtype == np.float64 else draw_unit_32
    whole = count - count % BLOCK
    # float32 and float64 draw for every element first, also for those that the last 16 will overwrite.
    in_place = dtype in (np.float32, np.float64)
    uniforms, state = draw(state, count if in_place else whole)
    values = np.empty(count, uniforms.dtype)
    values[:whole] = _transformed(uniforms[:whole], mean, std)
    if whole < count:
        uniforms, state = draw(state, BLOCK)
        values[-BLOCK:] = _transformed(uniforms, mean, std)
    with np.errstate(over="ignore", under="ignore"):
        return arrange(values.astype(dtype, copy=False), shape, memory_order), state


def _draw_one_by_one(state: State, count: int, mean: float, std: float) -> tuple[NDArray[np.float64], State]:
    values = np.empty(count)
    ready = 0
    if count and state.normal is not None:
        values[0], ready = state.normal, 1
        state = state._replace(normal=None)
    pairs = (count - ready + 1) // 2
    uniforms, state = draw_unit_64(state, 2 * pairs)
    for k, (u1, u2) in enumerate(uniforms.reshape(-1, 2).tolist()):
        radius, angle = math.sqrt(-2.0 * math.log1p(-u2)), 2.0 * math.pi * u1
        values[ready + 2 * k] = radius * math.cos(angle)
        if ready + 2 * k + 1 < count:
            values[ready + 2 * k + 1] = radius * math.sin(angle)
        else:
            state = state._replace(normal=radius * math.sin(angle))
    return fma64(values, std, mean), state


def _transformed(uniforms: NDArray[Any], mean: float, std: float) -> NDArray[Any]:
    """Turn whole blocks of uniforms into normals."""
    transform = _transformed_64 if uniforms.dtype == np.float64 else _transformed_32
    parts = [
        transform(uniforms[i : i + CACHED].reshape(-1, 2, BLOCK // 2), mean, std).ravel()
        for i in range(0, len(uniforms), CACHED)
    ]
    return np.concatenate(parts)


def _transformed_32(uniforms: NDArray[np.float32], mean: float, std: float) -> NDArray[np.float32]:
    mean32, std32 = np.float32(mean), np.float32(std)
    radius = np.sqrt(np.float32(-2) * cephes.log(np.float32(1) - uniforms[:, 0]))
    sine, cosine = cephes.sin_cos(np.float32(2 * math.pi) * uniforms[:, 1])
    with np.errstate(over="ignore", invalid="ignore"):
        return np.stack([fma32(radius * cosine, std32, mean32), fma32(radius * sine, std32, mean32)], axis=1)


def _transformed_64(uniforms: NDArray[np.float64], mean: float, std: float) -> NDArray[np.float64]:
    # Through Python's math, element by element: NumPy's own vectorised functions differ from the C library's in the
    # last bit.
    logs = np.reshape([math.log(v) for v in (1.0 - uniforms[:, 0]).ravel().tolist()], uniforms[:, 0].shape)
    radius = np.sqrt(-2.0 * logs)
    angles = (2.0 * math.pi * uniforms[:, 1]).ravel().tolist()
    cosine = np.reshape([math.cos(v) for v in angles], radius.shape)
    sine = np.reshape([math.sin(v) for v in angles], radius.shape)
    return np.stack([fma64(radius * cosine, std, mean), fma64(radius * sine, std, mean)], axis=1)
