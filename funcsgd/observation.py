"""The quantities of a rule between gradient and parameter, by name, for an observer of the update."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

import optax
from jax.extend.core import get_opaque_trace_state

Observed = dict[str, list[Any]]
"""Name of a quantity -> the trees that stages showed under it, in their order. More than one, each with
``optax.MaskedNode`` at the leaves of the others, where an ``optax.partition`` has divided the parameters."""

Tree = TypeVar("Tree")


def _here() -> Any:
    """The trace under way, to compare with another."""
    return get_opaque_trace_state()  # type: ignore[no-untyped-call]


class _Observers(threading.local):
    """The observations under way in a thread, each with the trace in which it was begun."""

    def __init__(self) -> None:
        self.open: list[tuple[Any, Observed]] = []


_observers = _Observers()


@contextlib.contextmanager
def observing() -> Iterator[Observed]:
    """Collect what the stages of a rule show, while ``tx.update`` is called inside.

    The rule and its state are the same whether it is observed or not: nothing is stored between two updates.

    Yields:
        A dict that fills up: the quantity's name -> list of trees. `add_weight_decay` shows ``"weight_decay"``, the
        gradient with the decay; `adamw` shows ``"decayed_parameter"``, the parameter with it; `clip_grad_norm` and
        `clip_grad_value` show ``"clip"``, the clipped gradient; `observe` shows what it is given. Under ``jit`` the
        trees hold tracers: return them from the same function.

    Exactness: bitwise: a quantity has the bits that the next stage is given.

    Differs from keeping intermediate results in the optimizer's state in: what a stage shows inside of a nested
    transformation (a ``jit``, ``vmap``, ``cond`` or ``scan`` of its own) is left out, as it cannot leave it.

    Example:
        >>> import jax, jax.numpy as jnp, funcsgd
        >>> tx = funcsgd.sgd(0.5, weight_decay=0.25)
        >>> @jax.jit
        ... def decayed(grads, state, params):
        ...     with funcsgd.observing() as seen:
        ...         tx.update(grads, state, params)
        ...     return seen["weight_decay"]
        >>> w = jnp.array([4.0])
        >>> decayed(jnp.array([1.0]), tx.init(w), w)
        [Array([2.], dtype=float32)]
    """
    entry = (_here(), Observed())
    _observers.open.append(entry)
    try:
        yield entry[1]
    finally:
        _observers.open.pop()


def observed() -> bool:
    """Return True while somebody is `observing`: what is calculated to be shown alone is left out otherwise."""
    return bool(_observers.open)


def shown(name: str, updates: Tree) -> Tree:
    """Show a tree to those who are `observing`, under a name, and return it."""
    if _observers.open:
        here = _here()
        for trace, seen in _observers.open:
            if trace == here:  # tracers of an inner trace may not leave it
                seen.setdefault(name, []).append(updates)
    return updates


def observe(name: str) -> optax.GradientTransformationExtraArgs:
    """Show the updates at this place of a chain to those who are `observing`; change nothing.

    For chains of stages that show nothing themselves, such as optax's.

    Args:
        name: of the quantity; `torch_bridge.replay` compares those that are phases of a step, such as ``"clip"``.

    Returns:
        A transformation without state that hands its updates on.

    Exactness: bitwise, on every backend.

    Example:
        >>> import optax
        >>> tx = optax.chain(optax.clip_by_global_norm(1.0), observe("clip"), optax.sgd(0.1))
    """
    return optax.with_extra_args_support(optax.stateless(lambda updates, params: shown(name, updates)))
