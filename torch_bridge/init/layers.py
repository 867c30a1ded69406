"""The tensors of one layer as torch's constructor makes them: linear, convolutional, embedding, normalisation.

Each function takes its constructor's arguments and returns the layer's ``state_dict``, as a dict of NumPy arrays in
torch's shapes and order. A model is its layers' calls in the order in which its constructor makes them.
With a `torch_bridge.random.traced.Generator` they work inside ``jax.jit`` and ``vmap``, and return JAX arrays.

Exactness: bitwise, like `torch_bridge.random.draw_uniform`; for embeddings like `torch_bridge.random.draw_normal`.

Source: ``torch/nn/modules``, each class's ``reset_parameters``, torch 2.13.0.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from torch_bridge.init.fan import fan_in_and_fan_out, kaiming_uniform
from torch_bridge.init.fill import Shape, Source, normal, ones, uniform, zeros

Tensors = dict[str, NDArray[Any]]


def under(prefix: str, tensors: Tensors) -> Tensors:
    """Put a name before every key, as a submodule of that name has it.

    Example:
        >>> list(under("fc", linear(2, 3)))
        ['fc.weight', 'fc.bias']
    """
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def sequential(*layers: Tensors) -> Tensors:
    """``torch.nn.Sequential``: tensors under ``0.``, ``1.``, ...; pass ``{}`` for a layer without any.

    Python evaluates arguments from left to right, so the layers draw in their order.

    Example:
        >>> model = sequential(linear(4, 8), {}, linear(8, 2))  # Sequential(Linear(4, 8), ReLU(), Linear(8, 2))
        >>> list(model)
        ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    return {key: value for i, layer in enumerate(layers) for key, value in under(str(i), layer).items()}


def linear(
    in_features: int,
    out_features: int,
    bias: bool = True,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.Linear``: weight, then bias, both within about ``+-1 / sqrt(in_features)``.

    Args:
        in_features: inputs.
        out_features: outputs.
        bias: whether there is one.
        generator: the stream to draw from; the default one, which is what torch's constructors use, if not given.
        dtype: of the tensors.

    Returns:
        ``weight`` of shape ``(out, in)`` and, with ``bias``, ``bias`` of shape ``(out,)``.

    Example:
        >>> from torch_bridge.random import Generator
        >>> linear(2, 1, generator=Generator(0))  # torch.manual_seed(0); torch.nn.Linear(2, 1).state_dict()
        {'weight': array([[-0.00529398,  0.3793229 ]], dtype=float32), 'bias': array([-0.58198076], dtype=float32)}
    """
    return _weight_and_bias((out_features, in_features), out_features, bias, generator, dtype)


def bilinear(
    in1_features: int,
    in2_features: int,
    out_features: int,
    bias: bool = True,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.Bilinear``: weight of shape ``(out, in1, in2)``, then bias, in ``+-1 / sqrt(in1)``."""
    bound = 1 / math.sqrt(in1_features)
    tensors = {"weight": uniform((out_features, in1_features, in2_features), -bound, bound, generator, dtype)}
    if bias:
        tensors["bias"] = uniform((out_features,), -bound, bound, generator, dtype)
    return tensors


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: Sequence[int],
    groups: int = 1,
    bias: bool = True,
    transposed: bool = False,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.Conv1d``, ``2d``, ``3d`` and ``ConvTranspose1d``, ``2d``, ``3d``: weight, then bias.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: one number a dimension.
        groups: of channels.
        bias: whether there is one.
        transposed: whether it is a ``ConvTranspose``.
        generator: see `linear`.
        dtype: of the tensors.

    Returns:
        ``weight`` of shape ``(out, in / groups, *kernel)``, transposed ``(in, out / groups, *kernel)``, and ``bias``.

    Raises:
        ValueError: channels that the groups do not divide, with torch's messages.
    """
    if in_channels % groups:
        raise ValueError("in_channels must be divisible by groups")
    if out_channels % groups:
        raise ValueError("out_channels must be divisible by groups")
    channels = (in_channels, out_channels // groups) if transposed else (out_channels, in_channels // groups)
    return _weight_and_bias((*channels, *kernel_size), out_channels, bias, generator, dtype)


def conv1d(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    groups: int = 1,
    bias: bool = True,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.Conv1d``; see `conv`."""
    return conv(in_channels, out_channels, (kernel_size,), groups, bias, generator=generator, dtype=dtype)


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    *,
    groups: int = 1,
    bias: bool = True,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.Conv2d``; see `conv`."""
    kernel = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
    return conv(in_channels, out_channels, kernel, groups, bias, generator=generator, dtype=dtype)


def conv3d(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int, int],
    *,
    groups: int = 1,
    bias: bool = True,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.Conv3d``; see `conv`."""
    kernel = (kernel_size,) * 3 if isinstance(kernel_size, int) else kernel_size
    return conv(in_channels, out_channels, kernel, groups, bias, generator=generator, dtype=dtype)


def embedding(
    num_embeddings: int,
    embedding_dim: int,
    padding_idx: int | None = None,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.Embedding``: standard normal; the row of `padding_idx` is drawn and set to zero."""
    weight: Any = normal((num_embeddings, embedding_dim), 0.0, 1.0, generator, dtype)
    if padding_idx is not None and isinstance(weight, np.ndarray):
        weight[padding_idx] = 0
    elif padding_idx is not None:
        weight = weight.at[padding_idx].set(0)
    return {"weight": weight}


def batch_norm(
    num_features: int, affine: bool = True, track_running_stats: bool = True, *, dtype: DTypeLike = np.float32
) -> Tensors:
    """``torch.nn.BatchNorm1d``, ``2d``, ``3d``: ones and zeros; draws nothing.

    Returns:
        ``weight``, ``bias``, ``running_mean``, ``running_var`` and ``num_batches_tracked``, as far as chosen.
    """
    tensors: Tensors = {}
    if affine:
        tensors |= {"weight": ones((num_features,), dtype), "bias": zeros((num_features,), dtype)}
    if track_running_stats:
        tensors |= {
            "running_mean": zeros((num_features,), dtype),
            "running_var": ones((num_features,), dtype),
            "num_batches_tracked": np.array(0, np.int64),
        }
    return tensors


def layer_norm(
    normalized_shape: int | Shape,
    elementwise_affine: bool = True,
    bias: bool = True,
    *,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.LayerNorm``: ones and zeros; draws nothing."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    if not elementwise_affine:
        return {}
    return {"weight": ones(shape, dtype)} | ({"bias": zeros(shape, dtype)} if bias else {})


def group_norm(num_groups: int, num_channels: int, affine: bool = True, *, dtype: DTypeLike = np.float32) -> Tensors:
    """``torch.nn.GroupNorm``: ones and zeros; draws nothing.

    Raises:
        ValueError: channels that the groups do not divide, with torch's message.
    """
    if num_channels % num_groups:
        raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
    return layer_norm(num_channels, affine, dtype=dtype)


def _weight_and_bias(shape: Shape, outputs: int, bias: bool, generator: Source | None, dtype: DTypeLike) -> Tensors:
    # torch takes a slope of sqrt(5), which makes the bound 1 / sqrt(fan_in) but for rounding.
    tensors = {"weight": kaiming_uniform(shape, math.sqrt(5), generator=generator, dtype=dtype)}
    if bias:
        fan_in, _ = fan_in_and_fan_out(shape)
        bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
        tensors["bias"] = uniform((outputs,), -bound, bound, generator, dtype)
    return tensors
