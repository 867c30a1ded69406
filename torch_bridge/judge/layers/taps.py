"""Named points of a program: the value there, and the gradient with respect to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

Role = Literal["input", "forward", "backward"]
"""What a layer is given, what it returns, and the gradient with respect to that."""

_MARK = "torch_bridge|"
_named: Any = checkpoint_name


@dataclass(frozen=True)
class Point:
    """A point at a layer of the port.

    Attributes:
        role: what is there.
        path: of the layer's weights, joined with slashes.
        method: the method that was called.
        index: which of the floating arrays that it returned.
    """

    role: Role
    path: str
    method: str = "__call__"
    index: int = 0

    def __str__(self) -> str:
        """Return the name of the point in a program."""
        return f"{_MARK}{self.role}|{self.method}|{self.index}|{self.path}"


def tapped(value: Any, path: str, method: str) -> Any:
    """Return what a layer returned, with each floating array of it a named point, forward and backward."""
    leaves, structure = jax.tree.flatten(value)
    for index, leaf in enumerate(leaves):
        if _is_floating(leaf):
            points = (Point(role, path, method, index) for role in ("forward", "backward"))
            leaves[index] = _tap(*map(str, points), leaf)
    return jax.tree.unflatten(structure, leaves)


def given(args: Any, kwargs: Any, path: str, method: str) -> tuple[Any, Any]:
    """Return the arguments of a layer with the first floating array of them a named point."""
    leaves, structure = jax.tree.flatten((args, kwargs))
    first = next((index for index, leaf in enumerate(leaves) if _is_floating(leaf)), None)
    if first is None:
        return args, kwargs
    leaves[first] = _named(leaves[first], str(Point("input", path, method)))
    args, kwargs = jax.tree.unflatten(structure, leaves)
    return args, kwargs


def points_of(names: Mapping[str, Any]) -> dict[Point, Any]:
    """Return the values at the points of layers among all named values of a program."""
    found = {}
    for name, value in names.items():
        if name.startswith(_MARK):
            role, method, index, path = name.removeprefix(_MARK).split("|", 3)
            found[Point(role, path, method, int(index))] = value  # type: ignore[arg-type]
    return found


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _tap(forward: str, backward: str, x: Any) -> Any:
    return _named(x, forward)


def _tap_forward(forward: str, backward: str, x: Any) -> tuple[Any, None]:
    return _named(x, forward), None


def _tap_backward(forward: str, backward: str, residual: None, gradient: Any) -> tuple[Any]:
    return (_named(gradient, backward),)


_tap.defvjp(_tap_forward, _tap_backward)


def _is_floating(x: Any) -> bool:
    return isinstance(x, jax.Array) and bool(jnp.issubdtype(x.dtype, jnp.floating))
