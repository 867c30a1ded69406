"""The torch calls of one training step, noted as they are made, to be made again in float64."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import DeviceContext
from torch.utils.weak import WeakTensorKeyDictionary

from torch_bridge.recording.float64 import (
    Call,
    CannotWiden,
    Float64Values,
    Generators,
    Slot,
    rebuilt,
    slots_in,
    tensors_in,
    wide_dtype,
    widened,
)
from torch_bridge.recording.noted_calls import (
    DRAWS,
    NARROWING,
    RUN_SCRIPT_CODE,
    holds_arrays,
    is_passive,
    is_transformed,
    modes_taken_off,
    push_mode,
)
from torch_bridge.recording.patch import CUSTOM_FUNCTION, is_suspended, without_recording

_SCRIPT_CODE = "the backward pass runs code of the script ({}), which is not run twice"
_NOT_SHOWN = (
    "a gradient flows through a computation that torch's Python interface does not show: compiled or scripted code, "
    "or one from before the forward pass"
)


class Tape(TorchFunctionMode):
    """Notes the torch calls of a step while it is on, and makes them again in float64.

    Parameters, buffers and inputs enter with their values at their first use in the step. Casts to narrower
    types are widened. Calls that draw random numbers in the midst of a computation, such as dropout, are made again
    from the generator's state of then, and must draw the same; plain draws, such as ``torch.randn``, enter with the
    run's own values.
    """

    def __init__(self, devices: Iterable[torch.device]) -> None:
        """Prepare an empty tape.

        Args:
            devices: of the model's parameters.
        """
        super().__init__()
        self._generators = Generators(devices)
        self._paused = False
        self._reason: str | None = None  # why the tape as a whole is worth nothing
        self._gradients: frozenset[int] = frozenset()
        self.clear()

    def clear(self) -> None:
        """Drop every call."""
        self._slots: Any = WeakTensorKeyDictionary()
        self._lost: dict[Slot, str] = {}  # where a gradient would get lost, and why
        self._with_gradients: set[Slot] = set()  # outputs of calls made while gradients were on
        self._wide = Float64Values(self._generators)
        self._calls: list[Call] = []
        self._count = 0
        self.differentiable = False  # has a call given something that requires a gradient?
        self.layers: dict[str, torch.Tensor] = {}  # by "input/MODULE" and "forward/MODULE"
        self.layer_gradients: dict[str, torch.Tensor] = {}  # by "backward/MODULE"

    def start(self) -> None:
        """Begin to note. In the stack of modes: above torch's own for devices, below all of the script's."""
        above = modes_taken_off()
        if above and isinstance(above[0], DeviceContext):
            push_mode(above.pop(0))
        for mode in [self, *above]:
            push_mode(mode)

    def stop(self) -> None:
        """Note no more."""
        for mode in modes_taken_off():
            if mode is not self:
                push_mode(mode)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Note nothing inside."""
        paused, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = paused

    def give_up(self, reason: str | Exception) -> None:
        """Declare that the step cannot be evaluated."""
        self._reason = self._reason or (
            str(reason) if isinstance(reason, str | CannotWiden) else f"the step could not be followed: {reason}"
        )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make the call, and note it."""
        name, kwargs = getattr(func, "__name__", str(func)), kwargs or {}
        if not self._is_noting() or is_passive(func, name):
            return func(*args, **kwargs)
        if name == "register_hook":
            self.give_up(_SCRIPT_CODE.format("Tensor.register_hook"))
        return self.note(func, name, args, kwargs)

    def note_custom(self, call: Any, args: Any, kwargs: Any) -> Any:
        """Make a call of ``torch.autograd.Function.apply``, which bypasses modes, and note it."""
        if not self._is_noting():
            return call(*args, **kwargs)
        kind, *args = args
        if kind.__name__ in RUN_SCRIPT_CODE:
            self.give_up(_SCRIPT_CODE.format(kind.__name__))
        again = partial(CUSTOM_FUNCTION.own, kind)
        return self.note(partial(call, kind), kind.__name__, tuple(args), kwargs, custom=again)

    def _is_noting(self) -> bool:
        return not self._paused and self._reason is None and not is_suspended()

    def note(self, function: Any, name: str, args: Any, kwargs: Any, custom: Any = None) -> Any:
        """Call a function, note the call, and hand back what it returns.

        Args:
            function: makes the call.
            name: of the function.
            args: its arguments.
            kwargs: likewise.
            custom: of a custom autograd function, what makes the call again.
        """
        call, before = None, None
        with self.pause():
            try:
                call, before = self._begin(custom or function, name, args, kwargs), self._generators.states()
            except Exception as error:  # the run must go on
                self.give_up(error)
            result = function(*args, **kwargs)
            try:
                if call is not None and before is not None:
                    self._end(call, before, result)
            except Exception as error:
                self.give_up(error)
        return result

    def note_layer(self, key: str, value: torch.Tensor, gradient: str | None = None) -> None:
        """Keep the float64 value that ``value`` has at this point, an input or output of a layer.

        Args:
            key: of `layers`.
            value: a tensor of the run.
            gradient: a key of `layer_gradients`, to keep the gradient with respect to it as well.
        """
        if value not in self._slots and (value.requires_grad or gradient is not None):
            return  # made by what the tape does not see

        def keep(wide: torch.Tensor) -> None:
            self.layers[key] = wide.detach().clone()
            if gradient is not None and wide.requires_grad:
                hooked: Any = wide
                hooked.register_hook(gather)  # a later change in place does not reach it

        def gather(given: torch.Tensor) -> None:
            assert gradient is not None
            known = self.layer_gradients.get(gradient)
            self.layer_gradients[gradient] = given.detach().clone() if known is None else known + given.detach()

        self._calls.append(Call(keep, (self._slot(value),), {}, key))

    def _begin(self, function: Any, name: str, args: Any, kwargs: Any) -> Call | None:
        if is_transformed():
            return None
        if name == "view" and any(isinstance(arg, torch.dtype) for arg in args):
            raise CannotWiden("the bits of a tensor are read as another type (Tensor.view)")
        if name in NARROWING and function is getattr(torch.Tensor, name):
            function = getattr(torch.Tensor, NARROWING[name])
        return Call(function, self._template(args), self._template(kwargs), name, torch.is_grad_enabled())

    def _end(self, call: Call, before: list[torch.Tensor], result: Any) -> None:
        outputs, inputs = list(tensors_in(result)), list(slots_in((call.args, call.kwargs)))
        if not outputs and (result is not None or not inputs):
            return
        if call.name in DRAWS or (not inputs and holds_arrays((call.args, call.kwargs))):
            self._enter_drawn(call.name, outputs)
            return
        after = self._generators.states()
        if not all(map(torch.equal, before, after)):
            call.draws = (before, after)
        grows = any(output.requires_grad for output in outputs)
        lost = [self._lost[slot] for slot in inputs if slot in self._lost]
        for output in outputs:
            slot = self._slots.get(output)
            slot = self._new_slot(output) if slot is None else slot
            self._lost.pop(slot, None)
            call.outputs.append((slot, output.requires_grad))
            (self._with_gradients.add if call.grad_enabled else self._with_gradients.discard)(slot)
        self.differentiable |= grows
        if lost and call.grad_enabled and (grows or not outputs):
            written = call.outputs or [(slot, True) for slot in inputs]
            call = Call(partial(_refuse, lost[0]), (), {}, call.name, outputs=written)
        self._calls.append(call)

    def _enter_drawn(self, name: str, outputs: list[torch.Tensor]) -> None:
        for output in outputs:
            slot = self._slots.get(output)
            if slot is None:
                self._wide[self._new_slot(output)] = widened(output)
            else:  # drawn in place, into memory that others may share
                written = [(slot, output.requires_grad)]
                self._calls.append(Call(torch.Tensor.copy_, (slot, widened(output)), {}, name, outputs=written))

    def _new_slot(self, tensor: torch.Tensor) -> Slot:
        self._count += 1
        self._slots[tensor] = Slot(self._count)
        return Slot(self._count)

    def _slot(self, tensor: torch.Tensor) -> Slot:
        """Return a tensor's slot; a tensor that no noted call gave enters as a constant, or as a leaf."""
        slot: Slot | None = self._slots.get(tensor)
        made_by: Any = tensor.grad_fn
        if slot is None:
            slot = self._new_slot(tensor)
            if id(tensor) in self._gradients:
                self._wide[slot] = CannotWiden("the loss depends on the gradient of an earlier backward pass")
            else:
                self._wide[slot] = widened(tensor).requires_grad_(tensor.requires_grad and tensor.is_leaf)
            if made_by is not None:
                self._lost[slot] = _NOT_SHOWN
        is_custom = isinstance(made_by, torch.autograd.function.BackwardCFunction)
        if is_custom and slot not in self._with_gradients:  # only the inside of its forward was noted
            name = getattr(getattr(type(made_by), "_forward_cls", None), "__name__", type(made_by).__name__)
            self._lost[slot] = (
                f"the custom autograd function {name} was called by a reference to its apply that is older than the "
                f"recorder, which hides its arguments: call {name}.apply(...)"
            )
        return slot

    def _template(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._slot(value)
        if isinstance(value, torch.dtype):
            return wide_dtype(value)
        return value.copy() if isinstance(value, np.ndarray) else rebuilt(value, self._template)

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[None]:
        """Make the calls noted so far in float64; inside, nothing is noted and autocast is off.

        Raises:
            CannotWiden: the step could not be followed.
        """
        if self._reason is not None:
            raise CannotWiden(self._reason)
        with without_recording(), self._generators.kept():
            calls, self._calls = self._calls, []
            self._wide.make(calls)
            yield

    def value_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the float64 counterpart of a tensor, inside of `evaluation`.

        Raises:
            CannotWiden: it has none.
        """
        if tensor not in self._slots and tensor.grad_fn is not None:
            raise CannotWiden(_NOT_SHOWN)
        slot = self._slot(tensor)
        if slot in self._lost:
            raise CannotWiden(self._lost[slot])
        return self._wide[slot]

    def gradient_of(self, parameter: torch.Tensor) -> torch.Tensor | None:
        """Return the gradient that gathered in the float64 counterpart of a parameter, or None."""
        slot = self._slots.get(parameter)
        gradient = None if slot is None else self._wide[slot].grad
        return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient

    def state_of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the float64 counterpart of a tensor that a noted call used, as the latest evaluation left it, or None.

        Raises:
            CannotWiden: it could not be evaluated.
        """
        slot = self._slots.get(tensor)
        return None if slot is None else self._wide[slot]

    def clear_gradients(self) -> None:
        """Forget the gradients that gathered so far."""
        self.layer_gradients.clear()
        for slot in self._slots.values():
            self._wide.clear_gradient(slot)

    def know_gradients(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Tell which tensors are gradients, so that they are not copied where a script clips them."""
        self._gradients = frozenset(id(gradient) for gradient in gradients if gradient is not None)


def _refuse(reason: str) -> None:
    raise CannotWiden(reason)
