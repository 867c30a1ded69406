"""The kind of optimizer that a state dict is of, which does not name its class."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from torch_bridge.translate.optimizers import Adapter, Number, adapter_named, registered

_OTHERS = {
    *("params", "param_names", "foreach", "fused", "capturable", "differentiable"),  # choose an implementation
    *("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"),  # of schedulers
}
"""Options of a parameter group that are no hyperparameters."""


def adapter_of_groups(optimizer: Mapping[str, Any]) -> Adapter:
    """Return the adapter whose options and state an optimizer's state dict has.

    Raises:
        TypeError: there is none, or there are several.
    """
    groups, keys = optimizer["param_groups"], {key for held in optimizer["state"].values() for key in held}
    known = [adapter_named(torch_class) for torch_class in registered()]
    fits = [adapter for adapter in known if keys <= set(adapter.state) and _fits(adapter, groups)]
    if len(fits) != 1:
        options = ", ".join(sorted(map(str, set().union(*groups) - {"params"})))
        which = " and ".join(adapter.torch_class for adapter in fits) or "no optimizer that is known here"
        raise TypeError(
            f"the optimizer has the options {options} and the state {', '.join(sorted(map(str, keys))) or 'of none'}, "
            f"as {which} has: those of {', '.join(registered())} are known; "
            "torch_bridge.translate.optimizers.register takes an adapter of your own"
        )
    return fits[0]


def with_doubles(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a group with numbers in place of float64 tensors, which torch calculates with alike."""

    def number(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(number, value))
        return float(value) if isinstance(value, np.ndarray) and value.size == 1 and value.dtype == float else value

    return {key: number(value) for key, value in group.items()}


def _fits(adapter: Adapter, groups: Any) -> bool:
    options = {number.option for number in adapter.numbers} | set(adapter.flags)
    return all(
        options <= set(group) <= options | set(adapter.fixed) | _OTHERS
        and all(type(group[flag]) is bool for flag in (*adapter.flags, *adapter.fixed) if flag in group)
        and all(_is_number(number, group) for number in adapter.numbers)
        and not adapter.differs(group)
        for group in groups
    )


def _is_number(number: Number, group: Mapping[str, Any]) -> bool:
    """Whether a hyperparameter is a number, or a tensor that holds one."""
    if number.index is not None and not (
        isinstance(group[number.option], list | tuple) and len(group[number.option]) == 2
    ):
        return False
    value = number.of(group)
    if isinstance(value, np.ndarray):
        return value.size == 1 and value.dtype.kind in "fV"
    return isinstance(value, int | float)
