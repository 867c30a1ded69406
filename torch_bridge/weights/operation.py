"""What is done to an array on its way from torch's layout into JAX's: transpose, reshape and flip, in this order."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]

_STEP = re.compile(r"(transpose|reshape|flip)\(([-\d, ]*)\)")


@dataclass(frozen=True)
class Operation:
    """A chain of moves, each of which can be undone without loss; it prints as what `parse` reads.

    Attributes:
        shape: of the array in torch's layout.
        steps: names and arguments: axes of `numpy.transpose`, a shape, axes of `numpy.flip`.

    Exactness: bitwise; nothing is computed.

    Example:
        >>> import numpy as np
        >>> operation = Operation((3, 2)).transpose(1, 0).reshape(1, 2, 3)
        >>> str(operation), operation.apply(np.zeros((3, 2))).shape
        ('transpose(1, 0), reshape(1, 2, 3)', (1, 2, 3))
    """

    shape: Shape
    steps: tuple[tuple[str, Shape], ...] = ()

    def transpose(self, *axes: int) -> "Operation":
        """Return this operation with a transposition at its end; none if the axes are in order."""
        return self if axes == tuple(range(len(axes))) else self._then("transpose", axes)

    def reshape(self, *shape: int) -> "Operation":
        """Return this operation with a reshape at its end; none if it has the shape."""
        return self if shape == self.result else self._then("reshape", shape)

    def flip(self, *axes: int) -> "Operation":
        """Return this operation with axes turned round at its end."""
        return self._then("flip", axes) if axes else self

    def _then(self, name: str, argument: Shape) -> "Operation":
        return Operation(self.shape, (*self.steps, (name, argument)))

    @property
    def result(self) -> Shape:
        """The shape in JAX's layout."""
        return self._shapes()[-1]

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an array of torch's layout in JAX's."""
        for name, argument in self.steps:
            array = getattr(np, name)(array, argument)
        return array

    def undo(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an array of JAX's layout in torch's."""
        for (name, argument), before in reversed(list(zip(self.steps, self._shapes(), strict=False))):
            if name == "transpose":
                array = np.transpose(array, np.argsort(argument))
            else:
                array = np.reshape(array, before) if name == "reshape" else np.flip(array, argument)
        return array

    def _shapes(self) -> list[Shape]:
        """The shape before each step, and after the last."""
        shapes = [self.shape]
        for name, argument in self.steps:
            shape = shapes[-1]
            shapes.append(
                tuple(shape[i] for i in argument) if name == "transpose" else argument if name == "reshape" else shape
            )
        return shapes

    def __str__(self) -> str:
        """Return the steps as text."""
        return ", ".join(f"{name}({', '.join(map(str, argument))})" for name, argument in self.steps) or "as is"


def parse(text: str, shape: Shape) -> Operation:
    """Read an operation from the text it prints as.

    Args:
        text: ``"as is"``, or steps such as ``"transpose(1, 0), reshape(8, 2, 4)"``; ``"transpose"`` alone turns the
            axes of a matrix.
        shape: of the array in torch's layout.

    Raises:
        ValueError: the text is none, or does not fit the shape.
    """
    if text == "transpose" and len(shape) == 2:
        return Operation(shape).transpose(1, 0)
    operation = Operation(shape)
    if text == "as is":
        return operation
    if re.sub(r"[\s,]", "", _STEP.sub("", text)) or not _STEP.search(text):
        raise ValueError(
            f"cannot read the operation {text!r}: write 'as is', or steps such as 'transpose(1, 0), reshape(8, 2, 4)', "
            "'flip(0, 1)'"
        )
    for name, arguments in _STEP.findall(text):
        argument = tuple(int(number) for number in arguments.split(",") if number.strip())
        now = operation.result
        fits = {
            "transpose": sorted(argument) == list(range(len(now))),
            "reshape": math.prod(argument) == math.prod(now),
            "flip": set(argument) <= set(range(len(now))),
        }[name]
        if not fits:
            raise ValueError(f"{name}({arguments}) does not fit an array of shape {now}, in the operation {text!r}")
        operation = operation._then(name, argument)
    return operation
