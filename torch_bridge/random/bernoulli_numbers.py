"""Coin flips: ``torch.bernoulli``, ``Tensor.bernoulli_`` and the masks of dropout."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from torch_bridge.random.dtypes import FLOATING, MemoryOrder, Shape, arrange, as_dtype, element_count, floating_dtype
from torch_bridge.random.mersenne_twister import State
from torch_bridge.random.uniform import draw_unit_32, draw_unit_64


def draw_bernoulli(
    state: State,
    p: float,
    shape: Shape,
    dtype: DTypeLike = np.float32,
    memory_order: MemoryOrder = None,
) -> tuple[NDArray[Any], State]:
    """Flip the same coin for each element: ``Tensor.bernoulli_(p)``.

    Equation: ``out = 1 if u < p else 0``, with ``u`` of `draw_unit_64` whatever the dtype.

    Args:
        state: where the stream stands.
        p: probability of 1, in ``[0, 1]``.
        shape: of the result.
        dtype: any.
        memory_order: see `torch_bridge.random.dtypes.dimension_order`.

    Returns:
        Array of zeros and ones, and the state two words an element further.

    Raises:
        RuntimeError: ``p`` outside ``[0, 1]``, with torch's message.

    Exactness: bitwise.

    Source: ``bernoulli_scalar_kernel``, torch 2.13.0.
    """
    p = float(p)
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    uniforms, state = draw_unit_64(state, element_count(shape))
    return arrange((uniforms < p).astype(as_dtype(dtype)), shape, memory_order), state


def draw_bernoulli_each(state: State, p: ArrayLike) -> tuple[NDArray[Any], State]:
    """Flip a coin of its own for each element: ``torch.bernoulli(p)``.

    Equation: ``out = 1 if u < p else 0``, with ``u`` of `draw_unit_64` if `p` is float64, else of `draw_unit_32`.

    Args:
        state: where the stream stands.
        p: floating array, any shape, each element in ``[0, 1]``.

    Returns:
        Array of zeros and ones in the shape and dtype of `p`, and the next state.

    Raises:
        RuntimeError: an element outside ``[0, 1]``.
        NotImplementedError: a dtype that is not floating.

    Exactness: bitwise.

    Source: ``bernoulli_tensor_kernel``, torch 2.13.0.
    """
    p = np.asarray(p)
    floating_dtype(p.dtype, "bernoulli_tensor_cpu_p_")
    if not ((p >= 0) & (p <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    uniforms: NDArray[Any]
    if p.dtype == np.float64:
        uniforms, state = draw_unit_64(state, p.size)
    else:
        uniforms, state = draw_unit_32(state, p.size)
    return (uniforms < p.ravel().astype(uniforms.dtype)).astype(p.dtype).reshape(p.shape), state


def draw_dropout_mask(
    state: State,
    shape: Shape,
    p: float = 0.5,
    dtype: DTypeLike = np.float32,
    memory_order: MemoryOrder = None,
) -> tuple[NDArray[Any], State]:
    """Draw what ``torch.nn.functional.dropout(x, p)`` multiplies ``x`` by, in training.

    Equation::

        mask = fl(keep / fl(1 - p)),    keep = 1 if u < 1 - p else 0

    Args:
        state: where the stream stands.
        shape: that of ``x``; for ``dropout1d``, ``2d`` and ``3d`` that of ``x`` with every dimension after the second
            set to 1.
        p: probability of a zero, in ``[0, 1]``.
        dtype: that of ``x``, floating.
        memory_order: that of ``x``.

    Returns:
        The mask and the next state. Nothing is drawn for ``p = 0`` (all ones) and ``p = 1`` (all zeros).

    Raises:
        ValueError: ``p`` outside ``[0, 1]``, with torch's message.

    Exactness: bitwise.

    Source: ``aten/src/ATen/native/Dropout.cpp``, ``_dropout_impl``, torch 2.13.0.

    Example:
        >>> from torch_bridge.random.mersenne_twister import seeded
        >>> draw_dropout_mask(seeded(0), 4)[0]  # torch.manual_seed(0); F.dropout(torch.ones(4))
        array([0., 0., 2., 0.], dtype=float32)
    """
    dtype = as_dtype(dtype)
    if dtype not in FLOATING:
        raise RuntimeError("result type Float can't be cast to the desired output type Long")
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if p in (0, 1):
        return arrange(np.full(element_count(shape), 1 - p, dtype), shape, memory_order), state
    kept, state = draw_bernoulli(state, 1 - p, shape, dtype, memory_order)
    # torch divides in float32 for the short dtypes, by a divisor that was not rounded to them.
    if dtype == np.float64:
        return kept / np.float64(1 - p), state
    return (kept.astype(np.float32) / np.float32(1 - p)).astype(dtype), state
