"""Listeners on functions of torch for which torch has no hook."""

import contextlib
import functools
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any


class Patch:
    """One function of a module or class, replaced while it has listeners; a listener is_replaced around each call.

    A listener is a method ``(call, args, kwargs) -> result`` that makes the call. It is held weakly. A call from within
    a call of the same function is not passed to it, nor one inside of `without_recording`.
    """

    def __init__(self, owner: Callable[[], Any], name: str) -> None:
        """Name the function.

        Args:
            owner: returns the module or class, once it is needed.
            name: of the function in it.
        """
        self._owner, self._name = owner, name
        self._listeners: list[weakref.WeakMethod[Callable[..., Any]]] = []
        self._own: Any = None
        self._standing: Any = None
        self._replaced_in: Any = None
        self._inside = threading.local()

    @property
    def own(self) -> Callable[..., Any]:
        """The function as torch has it; of a class method, the function below it."""
        own = self._own if self._own is not None else vars(self._owner())[self._name]
        if isinstance(own, types.ClassMethodDescriptorType):  # one of C, which torch 2.14 has for Function.apply
            return functools.wraps(own)(lambda kind, *args, **kwargs: own.__get__(None, kind)(*args, **kwargs))
        return own.__func__ if isinstance(own, classmethod) else own

    @property
    def is_replaced(self) -> bool:
        """Whether torch's function is replaced at present."""
        return self._own is not None

    def listeners(self) -> list[Callable[..., Any]]:
        """Return who listens."""
        return [listener for reference in self._listeners if (listener := reference()) is not None]

    def with_new(self, known: list[Callable[..., Any]], call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call under way, recorded also by listeners that were added during it.

        Args:
            known: who listened at its beginning.
            call: as a listener was given it.
        """
        for listener in self.listeners():
            if listener not in known:
                call = functools.partial(_around, listener, call)
        return call

    def add_listener(self, listener: Callable[..., Any]) -> Callable[[], None]:
        """Add a listener; call what is returned to remove it."""
        # A recorder that is dropped without being closed gives torch its functions back as well.
        reference = weakref.WeakMethod(listener, self._forget)
        self._listeners.append(reference)
        if self._own is None:
            own, owner = self.own, self._owner()
            of_class = isinstance(vars(owner)[self._name], classmethod | types.ClassMethodDescriptorType)
            kind: Any = classmethod if of_class else lambda f: f
            self._own, self._replaced_in = vars(owner)[self._name], owner
            self._standing = kind(functools.wraps(own)(self._replacement(own)))
            setattr(owner, self._name, self._standing)
        return lambda: self._forget(reference)

    def _replacement(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(*args: Any, **kwargs: Any) -> Any:
            call = own
            if getattr(self._inside, "yes", False) or getattr(_silence, "yes", False):
                return own(*args, **kwargs)
            for reference in tuple(self._listeners):
                if (listener := reference()) is not None:
                    call = functools.partial(_around, listener, call)
            self._inside.yes = True
            try:
                return call(*args, **kwargs)
            finally:
                self._inside.yes = False

        return replacement

    def _forget(self, reference: Any) -> None:
        if reference in self._listeners:
            self._listeners.remove(reference)
        self._listeners = [each for each in self._listeners if each() is not None]
        # No import: the interpreter may be shutting down.
        owner = self._replaced_in
        if not self._listeners and owner is not None and vars(owner)[self._name] is self._standing:
            setattr(owner, self._name, self._own)
            self._own = self._standing = self._replaced_in = None


def _around(listener: Callable[..., Any], call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return listener(call, args, kwargs)


_silence = threading.local()


@contextlib.contextmanager
def without_recording() -> Iterator[None]:
    """Call no listener for what this thread calls inside."""
    before = is_suspended()
    _silence.yes = True
    try:
        yield
    finally:
        _silence.yes = before


def is_suspended() -> bool:
    """Return True inside of `without_recording`."""
    return getattr(_silence, "yes", False)


def _autograd() -> Any:
    import torch

    return torch.autograd


def _grad_scaler() -> Any:
    import torch

    return torch.amp.GradScaler


def _clip_grad() -> Any:
    import torch.nn.utils.clip_grad

    return torch.nn.utils.clip_grad


def _utils() -> Any:
    import torch

    return torch.nn.utils


def _torch() -> Any:
    import torch

    return torch


def _averaged_model() -> Any:
    from torch.optim.swa_utils import AveragedModel

    return AveragedModel


def _optimizer() -> Any:
    import torch

    return torch.optim.Optimizer


def _loader() -> Any:
    import torch

    return torch.utils.data.DataLoader


BACKWARD = Patch(_autograd, "backward")  # Tensor.backward goes through it
GRAD = Patch(_autograd, "grad")
CUSTOM_FUNCTION = Patch(lambda: _autograd().Function, "apply")
SCALE = Patch(_grad_scaler, "scale")
UNSCALE = Patch(_grad_scaler, "unscale_")
SCALER_STEP = Patch(_grad_scaler, "step")
TOTAL_NORM = Patch(_clip_grad, "_get_total_norm")  # clip_grad_norm_ is these two, by whatever name a script has it
CLIP_NORM = Patch(_clip_grad, "_clip_grads_with_norm_")
CLIP_VALUE = Patch(_utils, "clip_grad_value_")
UPDATE_AVERAGE = Patch(_averaged_model, "update_parameters")
MANUAL_SEED = Patch(_torch, "manual_seed")
NEW_OPTIMIZER = Patch(_optimizer, "__init__")
ITERATE_LOADER = Patch(_loader, "__iter__")

_ALL = (
    *(BACKWARD, GRAD, CUSTOM_FUNCTION, SCALE, UNSCALE, SCALER_STEP, TOTAL_NORM, CLIP_NORM, CLIP_VALUE),
    *(UPDATE_AVERAGE, MANUAL_SEED, NEW_OPTIMIZER, ITERATE_LOADER),
)
_SCHEDULER_STEPS: dict[type, Patch] = {}


def scheduler_steps() -> list[Patch]:
    """Return the methods ``step`` of torch's schedulers, and of those that a script has defined by now."""
    from torch.optim.lr_scheduler import LRScheduler

    kinds: list[type[Any]] = [LRScheduler]
    for kind in kinds:
        below: list[type[Any]] = kind.__subclasses__()
        kinds += [each for each in below if each not in kinds]
    own = [kind for kind in kinds if "step" in vars(kind)]
    return [_SCHEDULER_STEPS.setdefault(kind, Patch(functools.partial(_same, kind), "step")) for kind in own]


def _same(value: Any) -> Any:
    return value


def replaced() -> list[str]:
    """Return the names of torch's functions that are replaced at present."""
    return [patch._name for patch in (*_ALL, *_SCHEDULER_STEPS.values()) if patch.is_replaced]
