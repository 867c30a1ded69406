"""Which module owns an optimizer's parameters, where nobody says so."""

import gc
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def parameters_of(optimizer: "torch.optim.Optimizer") -> "list[torch.Tensor]":
    """Return an optimizer's parameters."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def owners(parameters: "Sequence[torch.Tensor]") -> "list[torch.nn.Module]":
    """Return the modules alive that own all the parameters, the smallest first.

    Where none does: the outermost modules that own some of them, in the order of the parameters.
    """
    import torch

    wanted = {id(parameter): position for position, parameter in enumerate(parameters)}
    whole: list[tuple[int, int, torch.nn.Module]] = []
    some: list[tuple[int, torch.nn.Module]] = []
    for module in [each for each in gc.get_objects() if issubclass(type(each), torch.nn.Module)]:
        held = {id(parameter) for parameter in _parameters(module)}
        if wanted.keys() <= held:
            whole.append((len(list(module.modules())), len(whole), module))
        elif wanted.keys() & held:
            some.append((min(wanted[each] for each in wanted.keys() & held), module))
    if whole:
        return [module for *_, module in sorted(whole, key=lambda each: each[:2])]
    inner = {id(part) for _, module in some for part in module.modules() if part is not module}
    return [module for _, module in sorted(some, key=lambda each: each[0]) if id(module) not in inner]


def whole_of(parameters: "Sequence[torch.Tensor]") -> "torch.nn.Module":
    """Return a module that owns all the parameters: one of the script's, else one made of its modules and tensors."""
    import torch

    found = owners(parameters)
    wanted = {id(parameter) for parameter in parameters}
    if found and wanted <= {id(parameter) for parameter in _parameters(found[0])}:
        return found[0]
    whole = torch.nn.Module()
    for position, module in enumerate(found):
        name = name_of(module) or type(module).__name__.lower()
        whole._modules[name if name not in whole._modules else f"{name}{position}"] = module
    owned = {id(parameter) for module in found for parameter in _parameters(module)}
    for position, parameter in enumerate(parameters):
        if id(parameter) not in owned:
            name = name_of(parameter) or str(position)
            taken = name in whole._parameters or name in whole._modules
            whole._parameters[f"{name}{position}" if taken else name] = parameter  # type: ignore[assignment]
    return whole


def described(module: "torch.nn.Module") -> str:
    """Return by which name the script has a module, or those of the parts of one that `whole_of` made."""
    parts = [*module._modules, *module._parameters] if type(module).__name__ == "Module" else []
    return ", ".join(parts) or name_of(module) or type(module).__name__


def _parameters(module: Any) -> "Iterator[torch.Tensor]":
    """The parameters of a module that may be half made."""
    try:
        yield from module.parameters()
    except AttributeError:
        return


def name_of(value: Any) -> str | None:
    """Return the variable of the script that holds a value, or else the attribute of an object of its own."""
    places = [vars(sys.modules["__main__"])]
    for holder in gc.get_referrers(value):
        if isinstance(holder, dict):
            places.append(holder)
        elif hasattr(holder, "__dict__"):
            places.append(vars(holder))
    names = (key for place in places for key, each in list(place.items()) if each is value and isinstance(key, str))
    return next((name for name in names if name.isidentifier() and not name.startswith("_")), None)
