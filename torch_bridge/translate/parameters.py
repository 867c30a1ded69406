"""The names of an optimizer's parameters."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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
) -> list[str]:
    """Return the names of the parameters that do not require a gradient."""
    names = parameter_names(optimizer, named_parameters)
    return [
        name
        for row, group in zip(names, optimizer.param_groups, strict=True)
        for name, parameter in zip(row, group["params"], strict=True)
        if not parameter.requires_grad
    ]


def tied_parameters(model: "torch.nn.Module") -> dict[str, str]:
    """Return the further names of parameters that a model has under several: name -> the one by which they go."""
    first: dict[int, str] = {id(parameter): name for name, parameter in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: first[id(parameter)] for name, parameter in every if first[id(parameter)] != name}
