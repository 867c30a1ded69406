"""Layers of one torch module lie together in JAX: where one of them was placed, the others are searched."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from torch_bridge.weights.jax_side import Path

if TYPE_CHECKING:
    from torch_bridge.weights.matching import Unit


def by_neighbours(units: Sequence["Unit"]) -> bool:
    """Narrow the choices of units by where their settled neighbours are; return whether any were narrowed.

    The units in question below a torch module must be as many as their places below the JAX one; then nothing is
    left to chance by keeping to these.
    """
    places: dict[str, list[Path]] = {}
    for unit in units:
        if unit.settled is not None:
            for ancestor in _ancestors(unit.layer.name):
                places.setdefault(ancestor, []).append(unit.path[:-1])
    unsettled = [unit for unit in units if unit.settled is None and len(unit.choices) > 1]
    for unit in unsettled:
        for ancestor in _ancestors(unit.layer.name):
            if ancestor not in places:
                continue
            # The nearest module that has a settled layer decides; its place is widened until it holds a choice.
            prefix = _common(places[ancestor])
            while prefix and not _below(unit.choices, prefix):
                prefix = prefix[:-1]
            if prefix and _narrow(unit, unsettled, ancestor, prefix):
                return True
            break
    return False


def _narrow(unit: "Unit", units: Iterable["Unit"], ancestor: str, prefix: Path) -> bool:
    kin = [
        other for other in units if ancestor in _ancestors(other.layer.name) and set(other.choices) == set(unit.choices)
    ]
    inside = _below(unit.choices, prefix)
    if len(inside) == len(unit.choices) or len(kin) != len(inside):
        return False
    for other in kin:
        other.narrow({path: other.choices[path] for path in inside}, "neighbours")
    return True


def _below(paths: Iterable[Path], prefix: Path) -> list[Path]:
    return [path for path in paths if path[: len(prefix)] == prefix]


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]


def _common(paths: Sequence[Path]) -> Path:
    shortest = min(paths, key=len)
    for depth, part in enumerate(shortest):
        if any(path[depth] != part for path in paths):
            return shortest[:depth]
    return shortest
