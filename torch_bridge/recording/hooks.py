"""Hooks where torch has none of its own, or none that survives a copy: modules, averages, schedulers."""

import copyreg
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch_bridge.translate.parameters import bare_parameters

if TYPE_CHECKING:
    import torch


_FAST_WITHOUT_HOOKS = ("TransformerEncoder", "TransformerEncoderLayer", "MultiheadAttention")


class ModuleHook:
    """A hook for one module alone: copies of the module carry it along without effect, and it can be pickled."""

    def __init__(self, module: "torch.nn.Module", listener: Callable[..., None]) -> None:
        """Name the module and the function; it is called with the hook's arguments after the module."""
        self._module, self._listener = module, listener

    def __call__(self, module: Any, *args: Any) -> None:
        """Call the function for the module, not for its copies."""
        import torch

        if module is self._module and not torch.compiler.is_compiling():
            self._listener(*args)

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return do_nothing

    def __reduce__(self) -> Any:
        return _reduced, ()


def do_nothing(*args: Any) -> None:
    """Do nothing: what a `ModuleHook` is in a copy."""


def _reduced() -> Callable[..., None]:
    return do_nothing


def can_have_hooks(module: "torch.nn.Module") -> bool:
    """Return True unless a module is scripted; torch gives such a one no hooks."""
    import torch

    return not isinstance(module, torch.jit.ScriptModule)


def parts_of(model: "torch.nn.Module") -> "Iterator[torch.nn.Module]":
    """Go through the modules below a model, but for those that take another path in evaluation if they have hooks."""
    for child in model.children():
        if type(child).__name__ not in _FAST_WITHOUT_HOOKS and can_have_hooks(child):
            yield child
            yield from parts_of(child)


def with_methods(target: Any, methods: dict[str, Callable[..., Any]]) -> Callable[[], None]:
    """Give one object methods of its own, through a class of its own under the old one's name.

    Args:
        target: it keeps its dict, its ``state_dict``, and what it is pickled as.
        methods: by name.

    Returns:
        Call it to give the old class back.
    """
    kind = type(target)

    def reduce_ex(self: Any, protocol: Any) -> Any:
        parent: Any = kind
        _, _, *rest = parent.__reduce_ex__(self, 2)
        return (copyreg._reconstructor, (kind, object, None), *rest)  # type: ignore[attr-defined]

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__reduce_ex__": reduce_ex}
    target.__class__ = own = type(kind.__name__, (kind,), {**methods, **names})

    def undo() -> None:
        if type(target) is own:
            target.__class__ = kind

    return undo


def on_average(
    average: "torch.optim.swa_utils.AveragedModel",
    model: "torch.nn.Module",
    listener: Callable[[str, "torch.Tensor"], None],
) -> Callable[[], None]:
    """Call ``listener`` with each parameter's name and average after every ``update_parameters``.

    Args:
        average: an AveragedModel of ``model``.
        model: gives the names.
        listener: takes a name and a tensor.

    Returns:
        Call it to remove the hook.
    """
    kind = type(average)

    def update_parameters(self: Any, source: "torch.nn.Module") -> None:
        kind.update_parameters(self, source)
        for (name, _), averaged in zip(bare_parameters(model), self.module.parameters(), strict=False):
            listener(name, averaged)

    return with_methods(average, {"update_parameters": update_parameters})


def on_metric(scheduler: Any, listener: Callable[[Any], None]) -> Callable[[], None]:
    """Call ``listener`` with each metric that a ReduceLROnPlateau is given.

    Args:
        scheduler: a ReduceLROnPlateau.
        listener: takes a number, or a tensor of one element.

    Returns:
        Call it to remove the hook.
    """
    kind = type(scheduler)

    def step(self: Any, metrics: Any, *args: Any, **kwargs: Any) -> None:
        listener(metrics)
        kind.step(self, metrics, *args, **kwargs)

    return with_methods(scheduler, {"step": step})
