"""The optimizers that are known, by their classes."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import optax

from torch_bridge.translate.optimizers.adam import ADAM
from torch_bridge.translate.optimizers.adamw import ADAMW
from torch_bridge.translate.optimizers.adapter import Adapter, Number
from torch_bridge.translate.optimizers.rmsprop import RMSPROP
from torch_bridge.translate.optimizers.sgd import SGD

if TYPE_CHECKING:
    import torch

_ADAPTERS: dict[str, Adapter] = {adapter.torch_class: adapter for adapter in (SGD, ADAM, ADAMW, RMSPROP)}

_RATE = Number("learning_rate", "lr")


def register(adapter: Adapter) -> None:
    """Register an optimizer's adapter: recording, replaying, translating and explaining use it from then on.

    Args:
        adapter: such as one of a class of your own; it replaces an earlier one of the same class.
    """
    _ADAPTERS[adapter.torch_class] = adapter


def registered() -> tuple[str, ...]:
    """Return the classes of torch's optimizers that have an adapter."""
    return tuple(_ADAPTERS)


def class_of(optimizer: "torch.optim.Optimizer") -> str:
    """Return an optimizer's class by module and name. A subclass is another class: it may do anything."""
    return f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"


def adapter_of(optimizer: "torch.optim.Optimizer") -> Adapter:
    """Return the adapter of an optimizer; of an unknown class one that records what tensors its state holds.

    It is that of the arithmetic: an option may turn one class into another, see `Adapter.otherwise`.

    Raises:
        TypeError: it is no optimizer.
    """
    groups: list[Mapping[str, Any]] | None = getattr(optimizer, "param_groups", None)
    if groups is None:
        raise TypeError(f"an optimizer has param_groups, but {type(optimizer).__name__} has none")
    adapter = adapter_named(class_of(optimizer), has_rate=all("lr" in group for group in groups))
    if groups and all(map(adapter.differs, groups)):
        return adapter_named(adapter.otherwise)
    return adapter


def adapter_named(torch_class: str, state: Iterable[str] = (), *, has_rate: bool = True) -> Adapter:
    """Return the adapter of a class, or one without a rule.

    Args:
        torch_class: see `Adapter`.
        state: of an unknown one, the keys of its state.
        has_rate: an unknown one has a learning rate.
    """
    if torch_class in _ADAPTERS:
        return _ADAPTERS[torch_class]
    numbers = (_RATE,) if has_rate else ()
    return Adapter(torch_class, numbers, state=tuple(state), quantities=(*(n.quantity for n in numbers), *state))


def rule_of(adapter: Adapter) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """Return the rule of an optimizer.

    Raises:
        TypeError: there is none.
    """
    if adapter.rule is None:
        raise TypeError(
            f"{adapter.torch_class} has no rule here, only {', '.join(_ADAPTERS)} have: it is recorded, but not "
            "translated; torch_bridge.translate.optimizers.register takes an adapter with a rule of your own"
        )
    return adapter.rule
