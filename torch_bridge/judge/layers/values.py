"""The value that a layer of torch's has in a port, out of the values at the points of its modules."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from torch_bridge.judge.findings import norm
from torch_bridge.judge.layers.counterparts import Counterpart
from torch_bridge.judge.layers.taps import Point, Role
from torch_bridge.trace.trace import Array

Values = Mapping[Point, Array]


@dataclass(frozen=True)
class Place:
    """Where in a port, and in which layout, a value of torch's is found.

    Attributes:
        counterpart: the modules.
        points: whose values, side by side along the last axis, are it.
        columns: see `Counterpart`.
        layout: of its axes, see `layouts`.
    """

    counterpart: Counterpart
    points: tuple[Point, ...]
    columns: tuple[int, int] | None
    layout: int

    def value(self, values: Values, shape: tuple[int, ...], role: Role) -> Array | None:
        """Return the value, or the gradient with respect to it, in torch's layout; None where it has none."""
        arrays = [values[at] for point in self.points if (at := replace(point, role=role)) in values]
        whole = _joined(arrays, self.columns) if len(arrays) == len(self.points) else None
        return None if whole is None else dict(layouts(whole, shape)).get(self.layout)


def layouts(array: Array, shape: tuple[int, ...]) -> Iterator[tuple[int, Array]]:
    """Yield an activation in the layouts of torch's that have a shape, each with a number.

    As it is; with the channels, which are last, moved to second; with its first two axes, time and batch, exchanged;
    and each of these with axes split or merged.
    """
    moved = [array]
    if array.ndim > 2:
        moved += [np.moveaxis(array, -1, 1), np.swapaxes(array, 0, 1)]
    for number, each in enumerate(moved):
        if each.shape == shape:
            yield number, each
    for number, each in enumerate(moved, len(moved)):
        if each.shape != shape and each.size == np.prod(shape):
            yield number, each.reshape(shape)


def closest(
    reference: Array, counterparts: Sequence[Counterpart], values: Values, role: Literal["input", "forward"]
) -> Place | None:
    """Return the place whose value is nearest to torch's, among those of its shape; the first ones go first.

    A correct port agrees at the right place to rounding; in a wrong one no place does.
    """
    best: tuple[float, Place] | None = None
    for counterpart in counterparts:
        for points in _points(counterpart, values, role):
            columns = counterpart.columns if role == "forward" else None
            whole = _joined([values[point] for point in points], columns)
            if whole is None:
                continue
            for layout, array in layouts(whole, np.shape(reference)):
                distance = norm(array - reference)
                if best is None or distance < best[0]:
                    best = distance, Place(counterpart, points, columns, layout)
    return None if best is None else best[1]


def shapes_of(counterparts: Sequence[Counterpart], values: Values) -> list[tuple[int, ...]]:
    """Return the shapes of all outputs of the modules."""
    return [
        whole.shape
        for counterpart in counterparts
        for points in _points(counterpart, values, "forward")
        if (whole := _joined([values[point] for point in points], counterpart.columns)) is not None
    ]


def _points(counterpart: Counterpart, values: Values, role: Role) -> Iterator[tuple[Point, ...]]:
    paths = counterpart.paths[:1] if role == "input" else counterpart.paths  # they are given the same
    of_each: list[dict[tuple[str, int, int], Point]] = []
    for path in paths:
        here = [point for point in values if point.role == role and point.path == path]
        here = [point for point in here if counterpart.method in (None, point.method)]
        of_each.append({(point.method, point.index, point.call): point for point in here})
    for call in of_each[0] if of_each else ():
        if all(call in found for found in of_each):
            yield tuple(found[call] for found in of_each)


def _joined(arrays: Sequence[Array], columns: tuple[int, int] | None) -> Array | None:
    if not arrays:
        return None
    if len(arrays) > 1:
        if len({np.shape(x)[:2] for x in arrays}) > 1:
            return None
        arrays = [x if x.ndim < 4 else x.reshape(*x.shape[:2], -1) for x in arrays]  # heads, each with its columns
    whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, -1)
    return whole if columns is None else whole[..., slice(*columns)]
