"""torch.optim.swa_utils.AveragedModel <-> funcsgd's averages."""

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

import funcsgd
from funcsgd.averages import Average, AverageState
from torch_bridge.translate.tensors import to_numpy, to_tensor

if TYPE_CHECKING:
    import torch
    from torch.optim.swa_utils import AveragedModel


class TranslatedAverage(NamedTuple):
    """The result of `average_from_torch`.

    Attributes:
        average: `funcsgd.averages.ema` or `funcsgd.averages.swa`.
        state: where it stands; averages by torch name.
    """

    average: Average
    state: AverageState


def average_from_torch(averaged: "AveragedModel") -> TranslatedAverage:
    """Translate an AveragedModel, in whatever state it is.

    Args:
        averaged: made with one of torch's averaging functions, with none (the equal average), or with an ``avg_fn`` of
            one's own that weighs average and parameter by constants, such as
            ``lambda avg, param, _: 0.99 * avg + 0.01 * param``.

    Returns:
        `TranslatedAverage`. Its state has the model's buffers by name; give ``average.update`` the run's.

    Raises:
        TypeError: the averaging function is none of these.
    Exactness: bitwise.
    """
    values = {name: jnp.asarray(to_numpy(parameter)) for name, parameter in averaged.module.named_parameters()}
    n = int(averaged.n_averaged)
    name, options = average_call(averaged)
    buffers = {name: jnp.asarray(to_numpy(buffer)) for name, buffer in averaged.module.named_buffers()}
    state = AverageState(jnp.int32(n), jnp.int32(n), values, buffers)  # two arrays: a state may be donated
    return TranslatedAverage(getattr(funcsgd.averages, name)(**options), state)


def average_call(averaged: "AveragedModel") -> tuple[str, dict[str, Any]]:
    """Return the name of funcsgd's function, and its arguments, for an AveragedModel; raises `average_from_torch`'s."""
    name, options = _call(averaged)
    return name, options | ({"use_buffers": True} if averaged.use_buffers else {})


def _call(averaged: "AveragedModel") -> tuple[str, dict[str, Any]]:
    function = averaged.multi_avg_fn or averaged.avg_fn
    if function is None:
        return "swa", {}
    name = getattr(function, "__qualname__", "").partition(".")[0]
    if getattr(function, "__module__", "") == "torch.optim.swa_utils":
        if name == "get_swa_avg_fn":
            return "swa", {}
        if name == "get_swa_multi_avg_fn":
            return "swa", {"lerp": True}
        decay = float(inspect.getclosurevars(inspect.unwrap(function)).nonlocals["decay"])
        return "ema", {"decay": decay, "lerp": name == "get_ema_multi_avg_fn"}
    if averaged.multi_avg_fn is None and (weights := _constant_weights(function)) is not None:
        return "ema", dict(zip(("decay", "weight"), weights, strict=True))
    raise TypeError(
        f"the averaging function {getattr(function, '__qualname__', function)!r} is none of torch's, nor does it weigh "
        "average and parameter by constants: it has no equivalent"
    )


def _constant_weights(function: Any) -> tuple[float, float] | None:
    """The weights of ``decay * average + weight * parameter``, measured, and checked on random tensors."""
    import torch

    try:
        decay, weight = float(function(1.0, 0.0, 1)), float(function(0.0, 1.0, 1))
        generator = torch.Generator().manual_seed(0)
        for n in (1, 7):
            a, x = torch.randn(2, 1001, generator=generator)
            if not torch.equal(function(a, x, torch.tensor(n)), decay * a + weight * x):
                return None
    except (TypeError, AttributeError, RuntimeError):  # it takes tensors only, or branches on their values
        return None
    return (decay, weight) if 0 <= decay <= 1 else None


def average_to_torch(state: AverageState) -> dict[str, "torch.Tensor"]:
    """Return the ``state_dict`` of an AveragedModel in the state of a funcsgd average.

    Args:
        state: an `AverageState` with averages by torch name.
    """
    import torch

    kept = state.average | dict(state.buffers)
    averages = {f"module.{name}": to_tensor(value) for name, value in kept.items()}
    return {"n_averaged": torch.tensor(int(state.n_averaged)), **averages}
