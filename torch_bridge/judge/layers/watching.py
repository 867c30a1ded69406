"""A function of a port, traced with points at its layers."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax

from torch_bridge.judge.layers.places import Places, bases_of_modules
from torch_bridge.judge.layers.taps import Differentiated, given, tapped
from torch_bridge.weights import Weights

METHODS = ("__call__", "attend")
"""The methods whose results are a layer's output; the second is an Embedding's, used as the last Linear."""

CALLS = 4
"""So many calls of one layer are named: torch's first one need not be the first in the port."""

# In a program that was traced before, and kept, there would be no points.
_TRACED_ANEW: Any = jax.make_user_context(None)  # type: ignore[no-untyped-call]


class Watch:
    """Names the points of a port's layers while a function is traced.

    Attributes:
        differentiated: see `Differentiated`.
        failure: why the function was traced without points, if it was.
    """

    def __init__(self, weights: Weights, paths: frozenset[str]) -> None:
        """Name the layers of interest by the paths of their weights, joined with slashes."""
        self._paths = paths
        self._places = Places(weights.template)
        self._active: set[tuple[str, str]] = set()
        self._calls: dict[tuple[str, str], int] = {}
        self.differentiated = Differentiated()
        self.failure = ""

    def traced(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of parameters and more, the same one, with points at its layers."""

        @functools.wraps(function)
        def watched(params: Any, *rest: Any) -> Any:
            try:
                with self._watching(params):
                    return function(params, *rest)
            except Exception as error:  # forward-mode derivatives inside, which know no points
                result = function(params, *rest)
                self.failure = str(error).partition("\n")[0]
                return result

        return watched

    @contextlib.contextmanager
    def _watching(self, params: Any) -> Iterator[None]:
        self._places.begin(params)
        self._active.clear()
        self._calls.clear()
        with contextlib.ExitStack() as stack:
            stack.enter_context(_TRACED_ANEW(self))
            if (linen := sys.modules.get("flax.linen")) is not None:
                stack.enter_context(linen.intercept_methods(self._of_linen))
            for kind in {each for base in bases_of_modules() for each in _subclasses(base)}:
                for method in METHODS:
                    if method in vars(kind):
                        stack.enter_context(_replaced(kind, method, self._of_object))
            yield
        self._places.begin(None)

    def _of_linen(self, call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module, method = context.module, context.method_name
        if method not in METHODS or module.scope is None:
            return call(*args, **kwargs)
        cell = getattr(module, "cell", None)
        if cell is not None and getattr(cell, "scope", None) is not None:  # of RNN, which has no weights of its own
            return self._called("/".join(cell.path), "sequence", call, args, kwargs)
        return self._called("/".join(module.path), method, call, args, kwargs)

    def _of_object(self, module: Any, method: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return self._called(self._places.of(module), method, call, args, kwargs)

    def _called(self, path: str | None, method: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        number = self._calls.get((str(path), method), 0)
        if path is None or path not in self._paths or number == CALLS or (path, method) in self._active:
            return call(*args, **kwargs)
        self._calls[path, method] = number + 1
        self._active.add((path, method))  # a class calls the method of its parent class
        try:
            args, kwargs = given(args, kwargs, path, method, number)
            return tapped(call(*args, **kwargs), path, method, number, self.differentiated)
        finally:
            self._active.discard((path, method))


def _subclasses(kind: type) -> Iterator[type]:
    waiting, seen = [kind], set[type]()
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.add(each)
            yield each
            waiting += type.__subclasses__(each)


@contextlib.contextmanager
def _replaced(kind: type, method: str, listener: Callable[..., Any]) -> Iterator[None]:
    """Replace a method of a class, so that its calls go through a listener, until the end of the block."""
    own = vars(kind)[method]

    @functools.wraps(own)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        return listener(self, method, own.__get__(self, type(self)), args, kwargs)

    type.__setattr__(kind, method, watched)
    try:
        yield
    finally:
        type.__setattr__(kind, method, own)
