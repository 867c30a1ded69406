"""The buffers of a model that change in a run, such as running statistics, as each step found and left them.

A step's buffers are those that its differentiated forward passes made: what other calls of the model in training mode,
such as an evaluation without ``model.eval()`` or another network's step, did to them lies between two steps.
"""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.recording.batch import tensors_of
from torch_bridge.trace.trace import Array
from torch_bridge.translate.parameters import bare_buffers, bare_name
from torch_bridge.translate.tensors import to_numpy

if TYPE_CHECKING:
    import torch

_SMALL = 2**16  # elements; of a larger buffer that torch's version counter shows unchanged, a sample is compared
_MARK = "torch_bridge.call"


class BufferValues:
    """Reads a model's buffers, and finds out which of them change.

    Attributes:
        initial: every buffer as it was first seen, by its name in the model without wrappers.
        changing: the names of those that were ever seen to change.
    """

    def __init__(self, model: "torch.nn.Module") -> None:
        """Read them for the first time."""
        self._model = model
        self.initial: dict[str, Array] = {}
        self.changing: dict[str, None] = {}
        self._seen: dict[str, tuple[weakref.ref[torch.Tensor], int]] = {}
        self.now()

    def tensors(self) -> "dict[str, torch.Tensor]":
        """Return the buffers that change, as the model holds them."""
        return {name: buffer for name, buffer in bare_buffers(self._model) if name in self.changing}

    def now(self) -> dict[str, Array]:
        """Return copies of the buffers that change."""
        values = {}
        for name, buffer in bare_buffers(self._model):
            if _is_unmade(buffer):
                continue
            if name not in self.initial:
                self.initial[name], self._seen[name] = to_numpy(buffer), (weakref.ref(buffer), buffer._version)
            if name not in self.changing and self._is_changed(name, buffer):
                self.changing[name] = None
            if name in self.changing:
                values[name] = to_numpy(buffer)
        return values

    def _is_changed(self, name: str, buffer: "torch.Tensor") -> bool:
        """Compare with the first value: batch_norm does not count up the versions of its running statistics."""
        first, (same, version) = self.initial[name], self._seen[name]
        if buffer.numel() > _SMALL and same() is buffer and buffer._version == version:
            stride = 1 + buffer.numel() // _SMALL
            return not _same_bits(to_numpy(buffer.detach().reshape(-1)[::stride]), first.reshape(-1)[::stride])
        self._seen[name] = (weakref.ref(buffer), buffer._version)
        return not _same_bits(to_numpy(buffer), first)


@dataclass
class _Call:
    """A call of the model since the last step; one without gradients has no values."""

    differentiable: bool
    before: dict[str, Array] = field(default_factory=dict)
    after: dict[str, Array] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether it changes a buffer, as far as that is known."""
        same = self.before.keys() == self.after.keys()
        return (
            not self.differentiable
            or not same
            or any(not _same_bits(self.before[name], value) for name, value in self.after.items())
        )


@dataclass
class _Pass:
    """A backward pass that counts: the calls that it reached, how many there were by then, the buffers after it."""

    reached: frozenset[int]
    n_calls: int
    after: dict[str, Array]


class StepBuffers:
    """The buffers as each step's differentiated forward passes found and left them.

    Attributes:
        values: of the model.
        found: the buffers that change as the latest step that `take` returned found them, by name.
        is_clean: whether all calls of the model with gradients, up to that step's last backward pass, were
            differentiated.
        is_mixed: whether another call came between them, so that what the step did to the buffers is not known.
    """

    def __init__(self, model: "torch.nn.Module") -> None:
        """Begin with a model's buffers as they are."""
        self.values = BufferValues(model)
        self.found: dict[str, Array] = {}
        self._last: dict[str, Array] = {}  # as the last step left them
        self.is_clean, self.is_mixed = True, False
        self.drop()

    def drop(self) -> None:
        """Forget the calls so far."""
        self._calls: list[_Call] = []
        self._passes: list[_Pass] = []

    def before_call(self, differentiable: bool, part: bool = False) -> None:
        """Before a call of the model as a whole, or of a part of it with gradients.

        Args:
            differentiable: whether gradients are on.
            part: only the first part of a step matters.
        """
        if not self.values.initial or (part and self._calls):
            return
        self._calls.append(_Call(differentiable, self.values.now() if differentiable else {}))

    def after_call(self, output: Any) -> None:
        """After a call of the model as a whole with gradients on."""
        if not self._calls:
            return
        self._calls[-1].after = self.values.now()
        for tensor in tensors_of(output):
            if tensor.grad_fn is not None:
                tensor.grad_fn.metadata[_MARK] = len(self._calls)

    def passed(self, roots: "Iterable[torch.Tensor]") -> None:
        """After a backward pass that counts, from these tensors."""
        if not self._calls:
            return
        if len(self._calls) == 1:
            reached = {0}
        else:
            reached = {number - 1 for number in _marks(roots) if number <= len(self._calls)}
        if not reached:  # the graph does not show it
            reached = {i for i, call in enumerate(self._calls) if call.differentiable}
        self._passes.append(_Pass(frozenset(reached), len(self._calls), self.values.now()))

    def cleared(self) -> None:
        """Drop the backward passes so far: they do not count."""
        self._passes = []

    def take(self) -> dict[str, Array]:
        """Return the buffers that change, as the step left them and, where that is not as the last step left them, as
        it found them, by key; and begin the next step.
        """
        reached = sorted({number for each in self._passes for number in each.reached})
        self.is_clean, self.is_mixed = True, False
        if not self.values.initial:
            return {}
        if not reached:  # no call was seen: all that happened since the last step is the step's own
            found, left = dict(self._last), self.values.now()
        else:
            begin, end = reached[0], reached[-1]
            latest = self._passes[-1]
            found = self._calls[begin].before
            left = latest.after if end == latest.n_calls - 1 else self._calls[end].after
            others = {i for i in {*range(latest.n_calls)} - {*reached} if self._calls[i].changes}
            self.is_mixed = any(begin < i < end for i in others)
            self.is_clean = not self.is_mixed and not any(self._calls[i].differentiable for i in others)
        initial = self.values.initial
        names = [name for name in self.values.changing if name in left or name in initial]
        self.found = {name: found.get(name, initial[name]) for name in names}
        left = {name: left.get(name, initial[name]) for name in names}
        last = {name: self._last.get(name, initial[name]) for name in names}
        self._last = left
        self.drop()
        changed = {name: value for name, value in self.found.items() if not _same_bits(value, last[name])}
        return {f"buffer_before/{name}": value for name, value in changed.items()} | {
            f"buffer/{name}": value for name, value in left.items()
        }


def momenta_of(model: "torch.nn.Module") -> dict[str, float | None]:
    """Return the momentum of each layer that keeps running statistics, by its name; None for plain averages."""
    return {
        bare_name(model, name): module.momentum
        for name, module in model.named_modules()
        if "running_mean" in module._buffers and isinstance(getattr(module, "momentum", ""), float | None)
    }


def _marks(roots: "Iterable[torch.Tensor]") -> set[int]:
    """The marks on the nodes of a graph."""
    waiting: list[Any] = [root.grad_fn for root in roots]
    known, marks = set(), set()
    while waiting:
        node = waiting.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if (mark := node.metadata.get(_MARK)) is not None:
            marks.add(mark)
        waiting += [below for below, _ in node.next_functions]
    return marks


def _is_unmade(buffer: "torch.Tensor") -> bool:
    from torch.nn.parameter import is_lazy

    return bool(is_lazy(buffer)) or buffer.is_meta


def _same_bits(left: Array, right: Array) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def is_stale(twin: Array, found: Array, left: Array) -> bool:
    """Return True if a float64 evaluation did not follow how a buffer came from what the step found to what it left.

    It misses what another pass did, such as the second forward pass of ``torch.utils.checkpoint``: a large share of
    the way, where rounding is a small one.
    """
    if left.shape != found.shape or twin.shape != left.shape:
        return True
    if not np.issubdtype(twin.dtype, np.inexact):
        return not np.array_equal(twin, left)
    wide, begin = left.astype(twin.dtype), found.astype(twin.dtype)
    return bool(np.linalg.norm(twin - wide) > np.linalg.norm(wide - begin) / 8)
