"""The tensors of ``torch.nn.RNN``, ``LSTM``, ``GRU`` and their cells: all uniform in ``+-1 / sqrt(hidden_size)``.

Exactness: bitwise.

Source: ``torch/nn/modules/rnn.py``, torch 2.13.0.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from torch_bridge.init.fill import Shape, Source, uniform
from torch_bridge.init.layers import Tensors


def rnn(
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    bidirectional: bool = False,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.RNN``; see `lstm`."""
    return _layers(1, input_size, hidden_size, num_layers, bias, bidirectional, 0, generator, dtype)


def gru(
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    bidirectional: bool = False,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.GRU``; see `lstm`. The gates are stacked as reset, update, new."""
    return _layers(3, input_size, hidden_size, num_layers, bias, bidirectional, 0, generator, dtype)


def lstm(
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    bidirectional: bool = False,
    proj_size: int = 0,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.LSTM``. The gates are stacked as input, forget, cell, output.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        num_layers: layers on top of one another.
        bias: whether there are any.
        bidirectional: a second set of weights for each layer, named ``..._reverse``.
        proj_size: features that the output is projected to; 0: none.
        generator: see `torch_bridge.init.linear`.
        dtype: of the tensors.

    Returns:
        For each layer and direction ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0`` and
        ``weight_hr_l0``, as far as chosen.

    Raises:
        ValueError: sizes that torch refuses, with its messages.

    Example:
        >>> {name: value.shape for name, value in lstm(3, 5).items()}
        {'weight_ih_l0': (20, 3), 'weight_hh_l0': (20, 5), 'bias_ih_l0': (20,), 'bias_hh_l0': (20,)}
    """
    return _layers(4, input_size, hidden_size, num_layers, bias, bidirectional, proj_size, generator, dtype)


def cell(
    gates: int,
    input_size: int,
    hidden_size: int,
    bias: bool = True,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.RNNCell``, ``GRUCell`` and ``LSTMCell``, of 1, 3 and 4 gates."""
    shapes: dict[str, Shape] = {
        "weight_ih": (gates * hidden_size, input_size),
        "weight_hh": (gates * hidden_size, hidden_size),
    }
    if bias:
        shapes |= {"bias_ih": (gates * hidden_size,), "bias_hh": (gates * hidden_size,)}
    return _uniform(shapes, hidden_size, generator, dtype)


def _layers(
    gates: int,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bias: bool,
    bidirectional: bool,
    proj_size: int,
    generator: Source | None,
    dtype: DTypeLike,
) -> Tensors:
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")
    stacked, output_size = gates * hidden_size, proj_size or hidden_size
    shapes: dict[str, Shape] = {}
    for layer in range(num_layers):
        inputs = output_size * (1 + bidirectional) if layer else input_size
        for suffix in ("", "_reverse")[: 1 + bidirectional]:
            end = f"l{layer}{suffix}"
            shapes |= {f"weight_ih_{end}": (stacked, inputs), f"weight_hh_{end}": (stacked, output_size)}
            if bias:
                shapes |= {f"bias_ih_{end}": (stacked,), f"bias_hh_{end}": (stacked,)}
            if proj_size:
                shapes[f"weight_hr_{end}"] = (proj_size, hidden_size)
    return _uniform(shapes, hidden_size, generator, dtype)


def _uniform(shapes: dict[str, Shape], hidden_size: int, generator: Source | None, dtype: DTypeLike) -> Tensors:
    bound = 1.0 / math.sqrt(hidden_size)
    return {name: uniform(shape, -bound, bound, generator, dtype) for name, shape in shapes.items()}
