"""torch calls made again in float64."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch


class CannotWiden(Exception):
    """The step cannot be evaluated in float64; the message is the reason, a sentence."""


@dataclass(frozen=True)
class Slot:
    """A place for a tensor of the step, and for its float64 counterpart."""

    number: int


@dataclass
class Call:
    """A torch call of the run.

    Attributes:
        function: to be called again.
        args: its arguments, slots in the place of tensors, types already widened.
        kwargs: likewise.
        name: of the function.
        grad_enabled: whether gradients were on.
        outputs: a slot for each tensor that it returned, and whether that required a gradient.
        draws: the states of the random generators before and after, if they differ.
    """

    function: Callable[..., Any]
    args: Any
    kwargs: Any
    name: str
    grad_enabled: bool = False
    outputs: list[tuple[Slot, bool]] = field(default_factory=list)
    draws: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None


class Generators:
    """torch's default random generators: the CPU's, and those of some CUDA devices."""

    def __init__(self, devices: Iterable[torch.device]) -> None:
        """Name the devices; only CUDA's matter."""
        self.cuda = [device for device in dict.fromkeys(devices) if device.type == "cuda"]

    def states(self) -> list[torch.Tensor]:
        """Return their states, copies."""
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in self.cuda)]

    def restore(self, states: list[torch.Tensor]) -> None:
        """Set them to states that `states` returned."""
        torch.set_rng_state(states[0])
        for device, state in zip(self.cuda, states[1:], strict=True):
            torch.cuda.set_rng_state(state, device)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Leave them as they stood, whatever is drawn inside; autocast is off inside."""
        states = self.states()
        try:
            with contextlib.ExitStack() as stack:
                for kind in ["cpu", *(["cuda"] if self.cuda else [])]:
                    stack.enter_context(torch.autocast(kind, enabled=False))
                yield
        finally:
            self.restore(states)


class Float64Values:
    """The float64 counterparts of a step's tensors, by slot; a reason where there is none."""

    def __init__(self, generators: Generators) -> None:
        """Begin with none."""
        self._generators = generators
        self._values: dict[Slot, torch.Tensor | CannotWiden] = {}

    def __setitem__(self, slot: Slot, value: torch.Tensor | CannotWiden) -> None:
        self._values[slot] = value

    def __getitem__(self, slot: Slot) -> torch.Tensor:
        value = self._values[slot]
        if isinstance(value, CannotWiden):
            raise value
        return value

    def clear_gradient(self, slot: Slot) -> None:
        """Forget the gradient that gathered in a value."""
        value = self._values.get(slot)
        if isinstance(value, torch.Tensor) and value.is_leaf:
            value.grad = None

    def make(self, calls: Iterable[Call]) -> None:
        """Make calls in float64, in their order; one that fails matters only to what depends on it."""
        for call in calls:
            try:
                self._make(call)
            except Exception as error:
                reason = error if isinstance(error, CannotWiden) else CannotWiden(_described(call, error))
                self._values |= {slot: reason for slot, _ in call.outputs}

    def _make(self, call: Call) -> None:
        args, kwargs = self._filled(call.args), self._filled(call.kwargs)
        if call.draws is not None:
            self._generators.restore(call.draws[0])
        with torch.set_grad_enabled(call.grad_enabled):
            result = _called_wide(call.function, args, kwargs)
        if call.draws is not None and not all(map(torch.equal, self._generators.states(), call.draws[1])):
            raise CannotWiden(f"{call.name} draws other random numbers in float64 than in the run")
        given = {id(tensor) for tensor in tensors_in((args, kwargs))}
        inputs = set(slots_in((call.args, call.kwargs)))
        for (slot, grows), value in zip(call.outputs, tensors_in(result), strict=True):
            if id(value) in given and slot not in inputs:
                value = value.clone()  # a cast that made a copy in the run has nothing to do in float64
            if value.requires_grad != grows:
                raise CannotWiden(f"{call.name} gives a gradient in the run or in float64, and not in both")
            self._values[slot] = value

    def _filled(self, value: Any) -> Any:
        return self[value] if isinstance(value, Slot) else rebuilt(value, self._filled)


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return float64 for a floating type, complex128 for a complex one, and any other as it is."""
    return torch.float64 if dtype.is_floating_point else torch.complex128 if dtype.is_complex else dtype


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """Return a detached copy of a tensor in float64, or complex128, or as it is."""
    return tensor.detach().to(wide_dtype(tensor.dtype), copy=True)


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Go through the tensors in nested lists, tuples, dicts and slices."""
    return _leaves(value, torch.Tensor)


def slots_in(value: Any) -> Iterator[Slot]:
    """Go through the slots in nested lists, tuples, dicts and slices."""
    return _leaves(value, Slot)


def rebuilt(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to the members of a list, tuple, dict or slice; anything else is handed back."""
    if isinstance(value, dict):
        return {key: function(each) for key, each in value.items()}
    if isinstance(value, slice):
        return slice(function(value.start), function(value.stop), function(value.step))
    if type(value) in (list, tuple, torch.Size):
        return type(value)(function(each) for each in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(function(each) for each in value))
    return value


def _leaves(value: Any, kind: type) -> Iterator[Any]:
    if isinstance(value, kind):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each, kind)
    elif isinstance(value, slice):
        yield from _leaves((value.start, value.stop, value.step), kind)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each, kind)


def _called_wide(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call, with dtype arguments of narrower types replaced by float64."""
    result = function(*args, **kwargs)
    if _is_wide(result):
        return result
    given = list(tensors_in((args, kwargs)))
    if not given and "dtype" not in kwargs:  # torch.ones, torch.tensor
        with contextlib.suppress(TypeError):
            return function(*args, **kwargs, dtype=wide_dtype(next(tensors_in(result)).dtype))
    if given and all(not tensor.is_floating_point() and not tensor.is_complex() for tensor in given):
        result = function(*_each(args, torch.Tensor.double), **_each(kwargs, torch.Tensor.double))  # a quotient, a mean
    return _each(result, lambda tensor: tensor.to(wide_dtype(tensor.dtype)))


def _is_wide(result: Any) -> bool:
    return all(wide_dtype(tensor.dtype) == tensor.dtype for tensor in tensors_in(result))


def _each(value: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    return function(value) if isinstance(value, torch.Tensor) else rebuilt(value, lambda each: _each(each, function))


def _described(call: Call, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{call.name} cannot be evaluated in float64: {first}"
