"""torch.optim.SGD -> funcsgd: the rule, the parameters and the state."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import optax

import funcsgd
from torch_bridge.translate.states import with_momentum_buffers
from torch_bridge.translate.tensors import to_numpy

if TYPE_CHECKING:
    import torch

HYPERPARAMETERS = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")
"""What a parameter group of torch.optim.SGD says about the arithmetic; the rest chooses an implementation."""


class Translated(NamedTuple):
    """What `torch_bridge.from_torch` makes of an optimizer.

    Attributes:
        tx: the optax transformation.
        params: torch name -> JAX array, the parameters as they stand.
        state: the state of ``tx`` for ``params``, momentum buffers included, ready for the next update.
    """

    tx: optax.GradientTransformationExtraArgs
    params: dict[str, jax.Array]
    state: optax.OptState


def parameter_names(
    optimizer: "torch.optim.Optimizer", named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None
) -> list[list[str]]:
    """Return the name of each parameter of each group.

    Args:
        optimizer: any torch optimizer.
        named_parameters: ``model.named_parameters()``, for an optimizer that was made without names.

    Returns:
        The group's own names if it has them, else those of ``named_parameters``, else "0", "1", ... as in a state_dict.

    Raises:
        ValueError: ``named_parameters`` lacks a parameter that the optimizer has.
    """
    known = {id(parameter): name for name, parameter in named_parameters or ()}
    names, count = [], 0
    for group in optimizer.param_groups:
        own = group.get("param_names")
        row = []
        for position, parameter in enumerate(group["params"]):
            if own is not None:
                row.append(own[position])
            elif known and id(parameter) not in known:
                raise ValueError(
                    f"parameter {count} of the optimizer, shape {tuple(parameter.shape)}, is not among the named ones: "
                    "pass named_parameters of the whole model"
                )
            else:
                row.append(known.get(id(parameter), str(count)))
            count += 1
        names.append(row)
    return names


def model_order(
    optimizer: "torch.optim.Optimizer", named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None
) -> list[str]:
    """Return the names of the optimizer's parameters in the order of the model, or without one of the optimizer."""
    named = list(named_parameters or ())
    known = {
        id(parameter): name
        for row, group in zip(parameter_names(optimizer, named), optimizer.param_groups, strict=True)
        for name, parameter in zip(row, group["params"], strict=True)
    }
    if not named:
        return list(known.values())
    return [known[id(parameter)] for _, parameter in named if id(parameter) in known]


def frozen_parameters(
    optimizer: "torch.optim.Optimizer", named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None
) -> dict[str, bool]:
    """Return which parameters, by name, do not require a gradient."""
    names = parameter_names(optimizer, named_parameters)
    return {
        name: not parameter.requires_grad
        for row, group in zip(names, optimizer.param_groups, strict=True)
        for name, parameter in zip(row, group["params"], strict=True)
    }


def group_hyperparameters(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of a torch parameter group as Python numbers; a tensor keeps its value."""
    values = {name: group[name] for name in HYPERPARAMETERS}
    return {name: value if isinstance(value, bool) else float(value) for name, value in values.items()}


def sgd_from_torch(
    optimizer: "torch.optim.Optimizer",
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None,
    overrides: Sequence[Mapping[str, Any]] | None = None,
) -> Translated:
    """Translate a torch.optim.SGD, in whatever state it is, into a funcsgd rule with parameters and state.

    Args:
        optimizer: a ``torch.optim.SGD``; groups with their own hyperparameters become an ``optax.partition``.
        named_parameters: ``model.named_parameters()``, unless the optimizer was made with names.
        overrides: for each group, hyperparameters to take in place of the group's numbers, such as schedules.

    Returns:
        `Translated`.

    Raises:
        TypeError: the optimizer is not torch.optim.SGD.
        ValueError: a parameter stands twice in one group, or `funcsgd.sgd` refuses a hyperparameter.
    """
    import torch

    if type(optimizer) is not torch.optim.SGD:
        raise TypeError(f"from_torch translates torch.optim.SGD, but got {type(optimizer).__name__}")
    names = parameter_names(optimizer, named_parameters)
    overrides = overrides or [{}] * len(names)
    groups, buffers = [], {}
    for group, row, override in zip(optimizer.param_groups, names, overrides, strict=True):
        if len({id(parameter) for parameter in group["params"]}) < len(row):
            raise ValueError("a parameter stands twice in one group: torch steps it twice, which has no equivalent")
        members = [(name, to_numpy(parameter)) for name, parameter in zip(row, group["params"], strict=True)]
        groups.append({"params": members, **group_hyperparameters(group), **override})
        for name, parameter in zip(row, group["params"], strict=True):
            buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
            buffers[name] = None if buffer is None else to_numpy(buffer)
    made = funcsgd.from_groups(funcsgd.sgd, groups)
    state = with_momentum_buffers(made.tx.init(made.params), made.params, buffers)
    return Translated(made.tx, made.params, state)
