"""The layers of one step compared in float64, and the one in which a difference begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from torch_bridge.judge.findings import LARGEST, SPARE, FunctionFinding, function_finding, norm, unit_roundoff
from torch_bridge.judge.layers.counterparts import Counterpart
from torch_bridge.judge.layers.layer import Apart, Layer
from torch_bridge.judge.layers.values import Place, Values, closest, shapes_of
from torch_bridge.trace.phases import phase_of
from torch_bridge.trace.trace import Array, Step

NO_WEIGHTS = "without weights, and not directly in front of a layer that has a counterpart"
APART = "whose weights, and these alone, no module of the port holds"


@dataclass
class _Compared:
    """One layer at one step."""

    name: str
    place: Place | None = None
    through: str = ""  # the layer whose input its output is, where it has no place of its own
    given: FunctionFinding | None = None
    forward: FunctionFinding | None = None
    backward: FunctionFinding | None = None
    reason: str = ""


@dataclass
class StepLayers:
    """The layers of a step with a twin, in the order in which torch ran them.

    Args:
        step: its number.
        twin: the step in float64.
        limits: by key, the distance (2-norm) that float64's rounding explains.
        kinds: layer -> its class.
        sources: layer -> the layer whose output it is given.
        counterparts: by layer, see `Counterparts.of`; None for one without weights.
        values: the values at the port's points.
    """

    step: int
    twin: Step
    limits: Mapping[str, float]
    kinds: Mapping[str, str]
    sources: Mapping[str, str]
    counterparts: Mapping[str, Sequence[Counterpart] | None]
    values: Values
    _rows: dict[str, _Compared] = field(default_factory=dict)

    def __post_init__(self) -> None:
        gradients = [norm(value) for key, value in self.twin.items() if phase_of(key) == "backward"]
        self._whole = float(np.sqrt(np.sum(np.square(gradients))))
        for name in self._in_order():
            self._rows[name] = self._compared(name)
        for row in self._rows.values():
            if row.forward is not None and row.forward.same and row.given is not None and not row.given.same:
                row.given = None  # in another order there, and so are the weights
        for name, row in self._rows.items():
            if row.forward is None:
                self._through_the_next(name, row)
        for name, row in self._rows.items():
            source = self._rows.get(self.sources.get(name, ""))
            if row.given is None and row.place is None and f"input/{name}" not in self.twin and source is not None:
                row.given = source.forward  # the same tensor

    def layers(self) -> list[Layer]:
        """Return every layer of torch's with its distances at this step."""
        return [self._layer(name) for name in dict.fromkeys([*self._rows, *self.kinds])]

    def origin(self, loss_is_same: bool) -> FunctionFinding | None:
        """Return the finding at which the difference of the step begins; None if it is in no layer.

        It is the output of the first layer whose input agrees and whose output does not; or the input of that layer, if
        that differs already, which no layer explains. Where all outputs agree, and the loss, it is the gradient that
        differs closest to the loss.

        Args:
            loss_is_same: the loss agrees at this step.
        """
        for name, row in self._rows.items():
            if row.place is None or row.forward is None or row.forward.same:
                continue
            if row.given is None or row.given.same:
                return row.forward
            source = self._rows.get(self.sources.get(name, ""))
            if source is not None and source.through == name and source.given is not None and source.given.same:
                return source.forward
            return row.given
        if not loss_is_same:
            return None
        for row in reversed(self._rows.values()):
            if row.place is not None and row.backward is not None and not row.backward.same:
                return row.backward
        return None

    def _in_order(self) -> list[str]:
        return [key.removeprefix("forward/") for key in self.twin if phase_of(key) == "forward"]

    def _compared(self, name: str) -> _Compared:
        counterparts = self.counterparts.get(name)
        reference = self.twin[f"forward/{name}"]
        place = closest(reference, counterparts or (), self.values, "forward")
        if place is None:
            return _Compared(name, reason=self._reason(counterparts, np.shape(reference)))
        row = _Compared(name, place)
        row.forward = self._finding(f"forward/{name}", place.value(self.values, np.shape(reference), "forward"))
        if (gradient := self.twin.get(f"backward/{name}")) is not None:
            value = place.value(self.values, np.shape(gradient), "backward")
            row.backward = self._finding(f"backward/{name}", value)
        row.given = self._given(name, place.counterpart)
        return row

    def _given(self, name: str, counterpart: Counterpart) -> FunctionFinding | None:
        key = f"input/{name}"
        at = key if key in self.twin else f"forward/{self.sources.get(name)}"
        given = self.twin.get(at)
        place = None if given is None else closest(given, [counterpart], self.values, "input")
        value = None if place is None or given is None else place.value(self.values, np.shape(given), "input")
        if value is None or given is None:
            return None
        return function_finding(self.step, key, given, value, self._limit(at, given), None)

    def _through_the_next(self, name: str, row: _Compared) -> None:
        """The output of a layer without a place is what the next layer is given, if torch gives it that very tensor."""
        reference = self.twin[f"forward/{name}"]
        for other, source in self.sources.items():
            next_ = self._rows.get(other)
            if source != name or next_ is None or next_.place is None or next_.given is None:
                continue
            if f"input/{other}" in self.twin:
                continue
            place = closest(reference, [next_.place.counterpart], self.values, "input")
            if place is not None:
                value = place.value(self.values, np.shape(reference), "input")
                row.through, row.forward = other, self._finding(f"forward/{name}", value)
                return

    def _finding(self, key: str, value: Array | None) -> FunctionFinding | None:
        if value is None:
            return None
        reference = self.twin[key]
        return function_finding(self.step, key, reference, value, self._limit(key, reference), None)

    def _limit(self, key: str, reference: Array) -> float:
        """That of a value whose rounding torch's run shows, else the largest that there is."""
        if phase_of(key) == "forward":
            return self.limits[key]
        floor = SPARE * unit_roundoff(np.float64) * 1e-2 * self._whole if phase_of(key) == "backward" else 0.0
        return max(LARGEST * norm(reference), floor)

    def _reason(self, counterparts: Sequence[Counterpart] | None, shape: tuple[int, ...]) -> str:
        if not counterparts:
            return NO_WEIGHTS if counterparts is None else APART
        shapes = shapes_of(counterparts, self.values)
        if not shapes:
            return (
                f"whose {counterparts[0]} the port does not call, or within a loop or a branch, where nothing is seen"
            )
        return f"whose {counterparts[0]} returns an array of shape {shapes[0]} in the port, and {shape} in torch"

    def _layer(self, name: str) -> Layer:
        row = self._rows.get(name)
        kind = self.kinds.get(name, "")
        if row is None:
            return Layer(name, kind, reason="torch does not call it")
        place = row.place
        if place is None and row.through:
            following = self._rows[row.through].place
            assert following is not None
            counterpart = f"the input of {following.counterpart}"
        else:
            counterpart = "" if place is None else str(place.counterpart)
        given, forward, backward = map(_apart, (row.given, row.forward, row.backward))
        return Layer(name, kind, counterpart, "" if counterpart else row.reason, self.step, given, forward, backward)


def _apart(finding: FunctionFinding | None) -> Apart | None:
    return None if finding is None else Apart(finding.distance, finding.limit)
