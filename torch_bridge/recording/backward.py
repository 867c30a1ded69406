"""The backward passes of a step, and the loss that they differentiate."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.recording.patch import BACKWARD, GRAD, SCALE, without_recording
from torch_bridge.trace.trace import Array
from torch_bridge.translate.tensors import to_numpy

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Pass:
    """A backward pass that reached a parameter of the optimizer.

    Attributes:
        roots: the tensors that were differentiated.
        weights: the gradients given for them, None for a scalar.
        scale: the factor by which a GradScaler had multiplied the roots, else 1.
        options: what else ``torch.autograd.backward`` was given.
        touched: the parameters whose gradient it changed.
    """

    roots: "Sequence[torch.Tensor]"
    weights: "Sequence[torch.Tensor | None]"
    scale: float
    options: dict[str, Any]
    touched: "list[torch.Tensor]"


class BackwardPasses:
    """Listens to ``Tensor.backward``, ``torch.autograd.backward`` and ``torch.autograd.grad``, and adds up the loss.

    Only passes that changed the gradient of one of the optimizer's parameters count. Passes whose gradients were
    cleared before the step do not count.
    """

    def __init__(
        self,
        parameters: "Callable[[], Iterable[torch.Tensor]]",
        *,
        begins: Callable[[], None],
        passed: Callable[[Pass], None],
        cleared: Callable[[], None],
        fail: Callable[[str], None],
    ) -> None:
        """Attach the hooks.

        Args:
            parameters: returns those of the optimizer.
            begins: is called before each pass.
            passed: is called after each pass that counts.
            cleared: is called when the passes so far turn out not to count.
            fail: receives a sentence on what went wrong.
        """
        from torch.utils.weak import WeakTensorKeyDictionary

        self._parameters, self._begins, self._passed = parameters, begins, passed
        self._cleared, self._fail = cleared, fail
        self._scaled: Any = WeakTensorKeyDictionary()  # what a GradScaler made -> (what it was given, the scale)
        self._scale: float | None = None
        self._losses: list[Array] = []
        self._grads: list[tuple[Array, tuple[Any, ...]]] = []
        self._standing: list[tuple[Any, Any, int]] = []
        listeners = ((BACKWARD, self._on_backward), (GRAD, self._on_grad), (SCALE, self._on_scale))
        self._undo = [patch.add_listener(listener) for patch, listener in listeners]

    def close(self) -> None:
        """Remove the hooks."""
        while self._undo:
            self._undo.pop()()

    @property
    def count(self) -> int:
        """The number of passes that count so far."""
        return len(self._losses)

    def is_changed(self) -> bool:
        """Return True if something changed gradients since the last pass; a GradScaler's work does not count."""
        return self._scale is None and any(
            parameter.grad is not gradient or (gradient is not None and gradient._version != version)
            for parameter, gradient, version in self._standing
        )

    def take(self) -> Array | None:
        """Return the loss that was differentiated since the last step, None if none was recorded, and begin anew.

        Of several passes it is the sum.
        """
        losses = self._losses or self._from_grads()
        self.drop()
        return np.asarray(sum(losses[1:], losses[0])) if losses else None

    def drop(self) -> None:
        """Begin anew."""
        self._losses, self._grads, self._standing, self._scale = [], [], [], None

    def _from_grads(self) -> list[Array]:
        """The losses that torch.autograd.grad differentiated, where its results became the gradients."""
        now = {id(parameter.grad) for parameter in self._parameters() if parameter.grad is not None}
        return [loss for loss, results in self._grads if any(id(result) in now for result in results)]

    def _on_backward(self, call: Any, args: Any, kwargs: Any) -> Any:
        before: list[tuple[Any, Any, int]] | None = None
        try:
            with without_recording():
                self._drop_if_cleared()
                self._begins()
                before = self._gradients()
        except Exception as error:  # the run must go on
            self._fail(f"a backward pass could not be followed: {error}")
        result = call(*args, **kwargs)
        if before is not None:
            try:
                with without_recording():
                    self._after(before, args, kwargs)
            except Exception as error:
                self._fail(f"a backward pass could not be followed: {error}")
        return result

    def _after(self, before: list[tuple[Any, Any, int]], args: Any, kwargs: Any) -> None:
        known = {id(parameter): (gradient, version) for parameter, gradient, version in before}
        after = self._gradients()
        changed = [each for each in after if not _same(known.get(id(each[0])), each[1:])]
        if not changed:
            return
        given = dict(zip(("tensors", "grad_tensors", "retain_graph", "create_graph"), args, strict=False)) | kwargs
        roots, weights = _several(given.pop("tensors")), _several(given.pop("grad_tensors", None))
        weights = weights or [None] * len(roots)
        scales = {self._scale_of(root) for root in roots}
        loss = sum(self._value(root, weight) for root, weight in zip(roots, weights, strict=True))
        self._losses.append(np.asarray(loss))
        self._standing = after
        self._passed(Pass(roots, weights, max(scales), given, [parameter for parameter, _, _ in changed]))

    def _gradients(self) -> list[tuple[Any, Any, int]]:
        return [(p, p.grad, -1 if p.grad is None else p.grad._version) for p in self._parameters()]

    def _drop_if_cleared(self) -> None:
        if self._losses and all(_is_cleared(*each) for each in self._standing):
            self.drop()
            self._cleared()

    def _scale_of(self, root: Any) -> float:
        if root in self._scaled:
            return float(self._scaled[root][1])
        return self._scale or 1.0

    def _value(self, root: Any, weight: Any) -> Any:
        if root in self._scaled and weight is None:
            return to_numpy(self._scaled[root][0]).sum()
        value = to_numpy(root.detach() if weight is None else (root.detach() * weight.detach()).sum()).sum()
        return value if self._scale is None else value / value.dtype.type(self._scale)

    def _on_grad(self, call: Any, args: Any, kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        try:
            with without_recording():
                self._after_grad(args, kwargs, result)
        except Exception as error:
            self._fail(f"a call of torch.autograd.grad could not be followed: {error}")
        return result

    def _after_grad(self, args: Any, kwargs: Any, result: Any) -> None:
        given = dict(zip(("outputs", "inputs", "grad_outputs"), args, strict=False)) | kwargs
        own = {id(parameter) for parameter in self._parameters()}
        if any(id(each) in own for each in _several(given["inputs"])):
            outputs, weights = _several(given["outputs"]), _several(given.get("grad_outputs"))
            loss = sum(map(self._value, outputs, weights or [None] * len(outputs)))
            self._grads.append((np.asarray(loss), tuple(result)))

    def _on_scale(self, call: Any, args: Any, kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        try:
            scaler, outputs = args[0], kwargs.get("outputs", args[-1])
            if scaler.is_enabled():
                with without_recording():
                    self._scale = float(scaler.get_scale())
                    for output, scaled in zip(_several(outputs), _several(result), strict=True):
                        self._scaled[scaled] = (output.detach(), self._scale)
        except Exception as error:
            self._fail(f"a GradScaler could not be followed: {error}")
        return result


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not hasattr(value, "untyped_storage") else [value]


def _same(before: tuple[Any, int] | None, after: tuple[Any, int]) -> bool:
    return before is not None and before[0] is after[0] and before[1] == after[1]


def _is_cleared(parameter: Any, gradient: Any, version: int) -> bool:
    now = parameter.grad
    if now is None:
        return True
    if now is not gradient or now._version == version or now.is_sparse:
        return False
    return not bool(now.any())
