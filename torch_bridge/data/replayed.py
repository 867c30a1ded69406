"""A pass over samplers of the user's own, taken up again by doing the same draws once more, and checked."""

import copy
import random
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from torch_bridge.data.stored import packed, unpacked
from torch_bridge.random import Generator, default_generator


class Replayed:
    """An iterator over any iterable that notes where every stream stood that the iterable may draw from.

    These are the default stream, Python's, NumPy's, and the generators among the iterable's attributes.

    Args:
        iterable: a sampler or batch sampler of the user's own, or a list.
        state: of an earlier pass, to go on with it.

    Raises:
        ValueError: the iterable does not give again what it gave before ``state`` was written.
    """

    def __init__(self, iterable: Iterable[Any], state: dict[str, Any] | None = None) -> None:
        self._streams = _Streams(iterable)
        self._before: dict[str, Any] = self._streams.read() if state is None else state["before"]
        self._first: dict[str, Any] | None = None if state is None else state["first"]
        self._taken = self._checksum = 0
        if state is not None:
            self._streams.check(self._before)
            self._streams.write(self._before)
        self._iterator: Iterator[Any] = iter(iterable)
        if state is not None:
            self._replay(state, type(iterable).__name__)

    def __iter__(self) -> "Replayed":
        return self

    def __next__(self) -> Any:
        if self._first is None:
            self._first = self._streams.read()
        item = next(self._iterator)
        item = int(item) if np.ndim(item) == 0 else np.array(list(item), np.int64)
        self._taken += 1
        self._checksum = zlib.crc32(np.asarray(item, np.int64).tobytes(), self._checksum)
        return item

    def state(self) -> dict[str, Any]:
        """Return where the pass stands, for JSON."""
        return {
            "taken": self._taken,
            "checksum": self._checksum,
            "before": self._before,
            "first": self._first,
            "now": self._streams.read(),
        }

    def _replay(self, state: dict[str, Any], name: str) -> None:
        if state["first"] is not None:
            self._streams.write(state["first"])
        for _ in range(state["taken"]):
            next(self, None)
        if (self._taken, self._checksum) != (state["taken"], state["checksum"]):
            raise ValueError(
                f"{name} does not give again the {state['taken']} items that it gave before the state was written, so "
                "what is left is not known: something else drew from its stream in between, or it draws from one that "
                "is not among its attributes; draw the whole order at once in __iter__, from a generator that is an "
                "attribute, or use a sampler of torch_bridge.data"
            )
        self._streams.write(state["now"])


class _Streams:
    """The streams and numbers that an iterable of the user's own depends on."""

    def __init__(self, iterable: Any) -> None:
        self._own: Any = None
        self._access: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {}
        self._numbers: dict[str, Any] = {}
        self._name = type(iterable).__name__
        if isinstance(iterable, list | tuple | range | np.ndarray):
            return  # nothing is drawn
        self._access |= {"default": _ours(default_generator), "python": _python(random), "numpy": _numpy_global()}
        if hasattr(iterable, "state_dict") and hasattr(iterable, "load_state_dict"):
            self._own = iterable
        self._look_into(iterable, "", set())

    def _look_into(self, value: Any, path: str, visited: set[int]) -> None:
        visited.add(id(value))
        for key, entry in getattr(value, "__dict__", {}).items():
            name = f"{path}.{key}".lstrip(".")
            if isinstance(entry, Generator):
                self._access[name] = _ours(entry)
            elif isinstance(entry, random.Random):
                self._access[name] = _python(entry)
            elif isinstance(entry, np.random.Generator):
                self._access[name] = _numpy(entry)
            elif isinstance(entry, bool | int | float | str):
                self._numbers[name] = entry
            elif hasattr(entry, "__iter__") and hasattr(entry, "__dict__") and id(entry) not in visited:
                self._look_into(entry, name, visited)

    def read(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        found: dict[str, Any] = {name: get() for name, (get, _) in self._access.items()}
        own = copy.deepcopy(self._own.state_dict()) if self._own is not None else None
        return {"streams": found, "numbers": self._numbers, "own": own}

    def check(self, state: dict[str, Any]) -> None:
        """Raise ValueError unless the iterable is set up as the one that the state was written of."""
        if self._own is None and state["numbers"] != self._numbers:
            differ = {key for key in state["numbers"] | self._numbers}
            listed = ", ".join(
                f"{key} was {state['numbers'].get(key)!r} and is {self._numbers.get(key)!r}"
                for key in sorted(differ)
                if state["numbers"].get(key) != self._numbers.get(key)
            )
            raise ValueError(
                f"{self._name} is not set up as it was when the epoch began: {listed}; set it so before resuming, or "
                "give it state_dict and load_state_dict"
            )
        if set(state["streams"]) != set(self._access):
            raise ValueError(
                f"{self._name} draws from {', '.join(sorted(self._access)) or 'no stream'}, but the state is of one "
                f"that drew from {', '.join(sorted(state['streams'])) or 'none'}"
            )

    def write(self, state: dict[str, Any]) -> None:
        """Set the streams, and what the iterable keeps in its own state_dict."""
        for name, value in state["streams"].items():
            self._access[name][1](value)
        if self._own is not None and state is not None and state["own"] is not None:
            self._own.load_state_dict(copy.deepcopy(state["own"]))


def _ours(generator: Generator) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    def write(text: str) -> None:
        generator.state = unpacked(text)

    return lambda: packed(generator.state), write


def _python(source: Any) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    def write(kept: Any) -> None:
        source.setstate((kept[0], tuple(kept[1]), kept[2]))

    return lambda: [*source.getstate()], write


def _numpy(source: np.random.Generator) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    def write(kept: Any) -> None:
        source.bit_generator.state = kept

    return lambda: _plain(source.bit_generator.state), write


def _numpy_global() -> tuple[Callable[[], Any], Callable[[Any], object]]:
    return lambda: _plain(np.random.get_state(legacy=False)), np.random.set_state  # noqa: NPY002


def _plain(value: Any) -> Any:
    """Arrays as lists, for JSON; NumPy takes both."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
