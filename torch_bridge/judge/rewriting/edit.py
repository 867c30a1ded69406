"""A replacement of one value of a program."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch_bridge.judge.rewriting.graph import Value


@dataclass(frozen=True, eq=False)
class Edit:
    """What takes the place of a value.

    Attributes:
        at: the value, a result of an operation.
        reads: the values that it is made from, which come before it in the same graph; it may be among them.
        make: from these, in their order, the array of the same shape that takes its place; after them, a constant
            where one is to be fitted.
        words: what a sentence says of this site, such as the name of a function.
        constant: the fitted constant; None where there is none.
        own: the port's number, which the constant takes the place of.
    """

    at: Value
    reads: tuple[Value, ...]
    make: Callable[..., Any]
    words: str = ""
    constant: float | None = None
    own: float | None = None

    def made(self, arrays: list[Any]) -> Any:
        """Return the replacement, from the values that it reads."""
        return self.make(*arrays) if self.constant is None else self.make(*arrays, self.constant)

    def with_constant(self, constant: float) -> "Edit":
        """Return it with another constant."""
        return replace(self, constant=constant)

    @property
    def line(self) -> str:
        """The line of the port."""
        return "" if self.at.op is None else self.at.op.line
