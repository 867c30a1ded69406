"""The names of an optimizer's parameters."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

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
    names: list[list[str]] = []
    count = 0
    for group in optimizer.param_groups:
        own = group.get("param_names")
        row: list[str] = []
        for position, parameter in enumerate(group["params"]):
            if own is not None:
                name = known.get(id(parameter))
                row.append(name if name is not None and name == _without_wrappers(own[position]) else own[position])
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
    first: dict[int, str] = {id(parameter): name for name, parameter in bare_parameters(model)}
    every = ((bare_name(model, name), each) for name, each in model.named_parameters(remove_duplicate=False))
    return {name: first[id(parameter)] for name, parameter in every if first[id(parameter)] != name}


_INSIDE = {"_orig_mod": (), "_fsdp_wrapped_module": (), "module": ("DistributedDataParallel", "DataParallel")}
"""The attributes in which wrappers keep what they wrap, and the wrappers' classes where the attribute does not tell."""


def is_wrapper(module: Any) -> str | None:
    """Return the attribute in which a wrapper (torch.compile, FSDP, DDP, DataParallel) keeps a module, or None."""
    parts = getattr(module, "_modules", {})
    for attribute, classes in _INSIDE.items():
        if attribute in parts and (not classes or type(module).__name__ in classes):
            return attribute
    return None


def unwrapped(model: Any) -> "torch.nn.Module":
    """Return the model inside of all wrappers, see `is_wrapper`."""
    while (attribute := is_wrapper(model)) is not None:
        model = model._modules[attribute]
    return model  # type: ignore[no-any-return]


def bare_name(model: "torch.nn.Module", name: str) -> str:
    """Return the name that a module, parameter or buffer has in the model without wrappers, at whatever depth.

    Args:
        model: wrapped or not, or with wrapped parts.
        name: in it, such as ``"module.encoder._orig_mod.weight"``.
    """
    kept: list[str] = []
    module: Any = model
    for part in name.split("."):
        if part != is_wrapper(module):
            kept.append(part)
        module = getattr(module, "_modules", {}).get(part)
    return ".".join(kept)


def bare_parameters(model: "torch.nn.Module") -> "Iterator[tuple[str, torch.nn.Parameter]]":
    """Go through ``model.named_parameters()`` under the names of the model without wrappers."""
    return ((bare_name(model, name), parameter) for name, parameter in model.named_parameters())


def bare_buffers(model: "torch.nn.Module") -> "Iterator[tuple[str, torch.Tensor]]":
    """Go through ``model.named_buffers()`` likewise."""
    return ((bare_name(model, name), buffer) for name, buffer in model.named_buffers())


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _INSIDE)
