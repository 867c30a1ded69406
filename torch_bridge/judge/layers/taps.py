"""Named points of a program: the value there, and the gradient with respect to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
        call: which of its calls, from 0.
    """

    role: Role
    path: str
    method: str = "__call__"
    index: int = 0
    call: int = 0

    def __str__(self) -> str:
        """Return the name of the point in a program."""
        return f"{_MARK}{self.role}|{self.method}|{self.index}|{self.call}|{self.path}"


@dataclass(frozen=True, eq=False)
class Differentiated:
    """The points whose gradients are computed somewhere in a program, be it within a loop, where they are not seen."""

    points: set[Point] = field(default_factory=set)


def tapped(value: Any, path: str, method: str, call: int, differentiated: Differentiated) -> Any:
    """Return what a layer returned, with each floating array of it a named point, forward and backward."""
    leaves, structure = jax.tree.flatten(value)
    for index, leaf in enumerate(leaves):
        if _is_floating(leaf):
            leaves[index] = _tap(Point("forward", path, method, index, call), differentiated, leaf)
    return jax.tree.unflatten(structure, leaves)


def given(args: Any, kwargs: Any, path: str, method: str, call: int) -> tuple[Any, Any]:
    """Return the arguments of a layer with the first floating array of them a named point."""
    leaves, structure = jax.tree.flatten((args, kwargs))
    first = next((index for index, leaf in enumerate(leaves) if _is_floating(leaf)), None)
    if first is None:
        return args, kwargs
    leaves[first] = _named(leaves[first], str(Point("input", path, method, 0, call)))
    args, kwargs = jax.tree.unflatten(structure, leaves)
    return args, kwargs


def points_of(names: Mapping[str, Any]) -> dict[Point, Any]:
    """Return the values at the points of layers among all named values of a program."""
    found = {}
    for name, value in names.items():
        if name.startswith(_MARK):
            role, method, index, call, path = name.removeprefix(_MARK).split("|", 4)
            found[Point(role, path, method, int(index), int(call))] = value  # type: ignore[arg-type]
    return found


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _tap(point: Point, differentiated: Differentiated, x: Any) -> Any:
    return _named(x, str(point))


def _tap_forward(point: Point, differentiated: Differentiated, x: Any) -> tuple[Any, None]:
    return _named(x, str(point)), None


def _tap_backward(point: Point, differentiated: Differentiated, residual: None, gradient: Any) -> tuple[Any]:
    back = replace(point, role="backward")
    differentiated.points.add(back)
    return (_named(gradient, str(back)),)


_tap.defvjp(_tap_forward, _tap_backward)


def _is_floating(x: Any) -> bool:
    return isinstance(x, jax.Array) and bool(jnp.issubdtype(x.dtype, jnp.floating))
