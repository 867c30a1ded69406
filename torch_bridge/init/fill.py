"""Tensors filled by a rule: the functions of ``torch.nn.init`` that look at no fans."""

import math
import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from torch_bridge.random import Generator, default_generator
from torch_bridge.random.dtypes import as_dtype, as_shape

Shape = tuple[int, ...]


class Source(Protocol):
    """A source of weights: a `torch_bridge.random.Generator`, or a traced one inside a compiled program."""

    def uniform(self, size: Shape, low: float, high: float, dtype: DTypeLike, /) -> Any:
        """Draw uniform numbers."""
        ...

    def normal(self, mean: float, std: float, size: Shape, dtype: DTypeLike, /) -> Any:
        """Draw normal numbers."""
        ...


def constant(shape: Shape, val: float, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """``torch.nn.init.constant_``: draws nothing."""
    return np.full(shape, val, as_dtype(dtype))


def ones(shape: Shape, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """``torch.nn.init.ones_``: draws nothing."""
    return constant(shape, 1.0, dtype)


def zeros(shape: Shape, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """``torch.nn.init.zeros_``: draws nothing."""
    return constant(shape, 0.0, dtype)


def eye(shape: Shape, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """``torch.nn.init.eye_``: the identity, as far as a matrix of this shape can be; draws nothing.

    Raises:
        ValueError: not two dimensions, with torch's message.
    """
    if len(shape) != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return np.eye(*shape).astype(as_dtype(dtype))


def dirac(shape: Shape, groups: int = 1, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """``torch.nn.init.dirac_``: a convolution's weight that passes its input channels on; draws nothing.

    Args:
        shape: ``(out, in / groups, *kernel)``, with 1 to 3 kernel dimensions.
        groups: of the convolution.
        dtype: of the result.

    Raises:
        ValueError: another number of dimensions, or groups that do not divide the channels; torch's messages.
    """
    if len(shape) not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if shape[0] % groups:
        raise ValueError("dim 0 must be divisible by groups")
    weight = zeros(shape, dtype)
    per_group = shape[0] // groups
    centre = tuple(size // 2 for size in shape[2:])
    for group in range(groups):
        for channel in range(min(per_group, shape[1])):
            weight[(group * per_group + channel, channel, *centre)] = 1
    return weight


def uniform(
    shape: Shape, a: float = 0.0, b: float = 1.0, generator: Source | None = None, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """``torch.nn.init.uniform_``: uniform in ``[a, b)``; see `torch_bridge.random.draw_uniform`."""
    return (generator or default_generator).uniform(as_shape(shape), a, b, dtype)


def normal(
    shape: Shape,
    mean: float = 0.0,
    std: float = 1.0,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """``torch.nn.init.normal_``; see `torch_bridge.random.draw_normal`."""
    return (generator or default_generator).normal(mean, std, as_shape(shape), dtype)


def trunc_normal(
    shape: Shape,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """``torch.nn.init.trunc_normal_``: normal numbers, redrawn until they lie in ``[a, b]``.

    Where ``[a, b]`` holds less than 0.3 of the distribution, uniform candidates in it are accepted with probability
    proportional to the density. Whole tensors are drawn again until every element is settled.

    Args:
        shape: of the result.
        mean: of the distribution before it is cut.
        std: likewise.
        a: least value.
        b: greatest value.
        generator: the stream to draw from; the default one if not given.
        dtype: float32 or float64; shorter ones as far as their arithmetic agrees.

    Warns:
        UserWarning: the mean is more than two standard deviations outside ``[a, b]``.

    Exactness: bitwise for float32 and float64. In the candidates' case a logarithm decides; NumPy's may differ from
    torch's by an ulp, which changes a decision about once in 2**24.

    Source: ``torch/nn/init.py``, torch 2.13.0.
    """
    dtype, shape = as_dtype(dtype), as_shape(shape)
    generator = generator or default_generator
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    if _normal_cdf((b - mean) / std) - _normal_cdf((a - mean) / std) > 0.3:
        low, high = dtype.type(a), dtype.type(b)
        values = generator.normal(mean, std, shape, dtype)
        while (outside := (values < low) | (values > high)).any():
            values = np.where(outside, generator.normal(mean, std, shape, dtype), values)
        return values

    log_peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2
    values = generator.uniform(shape, a, b, dtype)
    pending = _refused(values, mean, std, log_peak, generator)
    while pending.any():
        candidates = generator.uniform(shape, a, b, dtype)
        values = np.where(pending, candidates, values)
        pending &= _refused(candidates, mean, std, log_peak, generator)
    return values


def _refused(candidates: NDArray[Any], mean: float, std: float, log_peak: float, generator: Generator) -> NDArray[Any]:
    steps = (candidates - mean) / std
    log_density = steps * steps * -0.5 - log_peak
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(generator.uniform(candidates.shape, dtype=candidates.dtype)) > log_density)


def _normal_cdf(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


def sparse(
    shape: Shape,
    sparsity: float,
    std: float = 0.01,
    generator: Generator | None = None,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """``torch.nn.init.sparse_``: normal numbers, a fraction of each column set to zero.

    Args:
        shape: ``(rows, columns)``.
        sparsity: the fraction of zeros, rounded up to whole rows.
        std: of the rest.
        generator: the stream of the normal numbers. The permutations that choose the zeros come from the default
            stream even so, as in torch.
        dtype: of the result.

    Raises:
        ValueError: not two dimensions, with torch's message.

    Exactness: bitwise.
    """
    if len(shape) != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = shape
    weight = normal(shape, 0.0, std, generator, dtype)
    for column in range(columns):
        weight[default_generator.randperm(rows)[: math.ceil(sparsity * rows)], column] = 0
    return weight


def orthogonal(
    shape: Shape, gain: float = 1.0, generator: Generator | None = None, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """``torch.nn.init.orthogonal_``: an orthogonal matrix, from the QR factors of a normal one.

    Args:
        shape: two dimensions or more; those after the first are taken as one.
        gain: factor on the result.
        generator: the stream to draw from; the default one if not given.
        dtype: float32 or float64.

    Raises:
        ValueError: fewer than two dimensions, with torch's message.

    Exactness: the draws are bitwise; the factors are `rounding`, being those of NumPy's LAPACK, not of torch's.
    """
    if len(shape) < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if 0 in shape:
        return np.empty(shape, as_dtype(dtype))
    rows = shape[0]
    flat = normal((rows, math.prod(shape[1:])), 0.0, 1.0, generator, dtype)
    wide = rows < flat.shape[1]
    q, r = np.linalg.qr(flat.T if wide else flat)
    q = q * np.sign(np.diagonal(r))
    weight: NDArray[Any] = ((q.T if wide else q) * gain).astype(flat.dtype)
    return weight.reshape(shape)
