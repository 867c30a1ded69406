"""Weights scaled by their fans: Xavier's and Kaiming's rules in ``torch.nn.init``."""

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from torch_bridge.init.fill import Shape, Source, normal, uniform, zeros

LINEAR = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """``torch.nn.init.calculate_gain``: the factor that keeps a signal's variance through a nonlinearity.

    Args:
        nonlinearity: ``"linear"``, ``"conv1d"`` and kin, ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"`` or
            ``"selu"``.
        param: the negative slope of ``"leaky_relu"``; 0.01 if not given.

    Raises:
        ValueError: another name, or a slope that is no number; torch's messages.

    Example:
        >>> calculate_gain("tanh")
        1.6666666666666667
    """
    if nonlinearity in LINEAR:
        return 1
    if nonlinearity == "leaky_relu":
        if isinstance(param, bool) or not isinstance(param, int | float | None):
            raise ValueError(f"negative_slope {param} not a valid number")
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1 + slope**2))
    gains = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}
    if nonlinearity not in gains:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return gains[nonlinearity]


def fan_in_and_fan_out(shape: Shape) -> tuple[int, int]:
    """Count the inputs and the outputs of one unit of a weight ``(out, in, *kernel)``.

    Raises:
        ValueError: fewer than two dimensions, with torch's message.

    Example:
        >>> fan_in_and_fan_out((8, 3, 5, 5))
        (75, 200)
    """
    if len(shape) < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def xavier_uniform(
    shape: Shape, gain: float = 1.0, generator: Source | None = None, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """``torch.nn.init.xavier_uniform_``: uniform in ``+-sqrt(3) * gain * sqrt(2 / (fan_in + fan_out))``.

    Exactness: bitwise.
    """
    bound = math.sqrt(3.0) * (gain * math.sqrt(2.0 / float(sum(fan_in_and_fan_out(shape)))))
    return uniform(shape, -bound, bound, generator, dtype)


def xavier_normal(
    shape: Shape, gain: float = 1.0, generator: Source | None = None, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """``torch.nn.init.xavier_normal_``: normal of deviation ``gain * sqrt(2 / (fan_in + fan_out))``.

    Exactness: that of `torch_bridge.random.draw_normal`.
    """
    std = gain * math.sqrt(2.0 / float(sum(fan_in_and_fan_out(shape))))
    return normal(shape, 0.0, std, generator, dtype)


def kaiming_uniform(
    shape: Shape,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """``torch.nn.init.kaiming_uniform_``: uniform in ``+-sqrt(3) * gain / sqrt(fan)``.

    Args:
        shape: ``(out, in, *kernel)``.
        a: the slope for `calculate_gain`.
        mode: ``"fan_in"`` or ``"fan_out"``.
        nonlinearity: for `calculate_gain`.
        generator: the stream to draw from; the default one if not given.
        dtype: of the result.

    Raises:
        ValueError: with torch's messages.

    Warns:
        UserWarning: no elements.

    Exactness: bitwise.
    """
    if 0 in shape:
        return _nothing(shape, dtype)
    bound = math.sqrt(3.0) * (calculate_gain(nonlinearity, a) / math.sqrt(_fan(shape, mode)))
    return uniform(shape, -bound, bound, generator, dtype)


def kaiming_normal(
    shape: Shape,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """``torch.nn.init.kaiming_normal_``: normal of deviation ``gain / sqrt(fan)``; arguments of `kaiming_uniform`.

    Exactness: that of `torch_bridge.random.draw_normal`.
    """
    if 0 in shape:
        return _nothing(shape, dtype)
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(shape, mode))
    return normal(shape, 0.0, std, generator, dtype)


def _fan(shape: Shape, mode: str) -> int:
    modes = ["fan_in", "fan_out"]
    if mode.lower() not in modes:
        raise ValueError(f"Mode {mode.lower()} not supported, please use one of {modes}")
    return fan_in_and_fan_out(shape)[modes.index(mode.lower())]


def _nothing(shape: Shape, dtype: DTypeLike) -> NDArray[Any]:
    warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
    return zeros(shape, dtype)
