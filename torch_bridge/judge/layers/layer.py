"""One layer of torch's beside the port's, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Apart:
    """How far a value of the port is from torch's, both in float64.

    Attributes:
        distance: 2-norm of the difference over the 2-norm of torch's value.
        limit: what float64's own rounding explains of that.
    """

    distance: float
    limit: float

    @property
    def same(self) -> bool:
        """True if the values agree."""
        return self.distance <= self.limit


@dataclass(frozen=True)
class Layer:
    """A layer of torch's, and what the port has in its place.

    Attributes:
        name: the module's name.
        kind: its class.
        counterpart: the path of the weights of the port's module, several joined with commas; ``"the input of PATH"``
            for a layer without weights whose output is what the next one is given; empty if there is none.
        reason: why there is no counterpart, or none that can be compared; empty otherwise.
        step: the step that the distances are of.
        given: of what the layer is given; None where it was not compared, as the next two.
        forward: of its output.
        backward: of the gradient with respect to its output.
    """

    name: str
    kind: str
    counterpart: str = ""
    reason: str = ""
    step: int | None = None
    given: Apart | None = None
    forward: Apart | None = None
    backward: Apart | None = None
