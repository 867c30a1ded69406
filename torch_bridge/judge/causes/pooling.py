"""Pooling: of maxima or means, with the padding counted or not, over tokens or positions.

``repair(patterns)`` yields the replacements by which the function becomes torch's.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.graph import Op
from torch_bridge.judge.rewriting.patterns import MOVES, Patterns, reach

Edits = tuple[Edit, ...]

_WINDOW = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")


def _windows(op: Op, **changes: Any) -> dict[str, Any]:
    return {key: op.params[key] for key in _WINDOW} | changes


def _sum(x: Any, how: dict[str, Any]) -> Any:
    return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, **how)


def _max(x: Any, how: dict[str, Any]) -> Any:
    return lax.reduce_window(x, np.asarray(-np.inf, x.dtype), lax.max, **how)


def _averages(patterns: Patterns) -> Iterator[tuple[Op, Op]]:
    """Sums over windows, each with the operation that divides it."""
    for op in patterns.ops:
        if op.name == "reduce_window_sum" and not op.outputs[0].fixed:
            for user in op.outputs[0].users:
                if user.name in ("div", "mul") and user.outputs[0].shape == op.outputs[0].shape:
                    yield op, user


def _counted(patterns: Patterns) -> Iterator[Edits]:
    for op, user in _averages(patterns):
        how, n = _windows(op), math.prod(op.params["window_dimensions"])
        yield (Edit(user.outputs[0], (op.inputs[0],), lambda x, how=how, n=n: _sum(x, how) / n),)


def _not_counted(patterns: Patterns) -> Iterator[Edits]:
    for op, user in _averages(patterns):
        how = _windows(op)
        yield (Edit(user.outputs[0], (op.inputs[0],), lambda x, how=how: _sum(x, how) / _sum(jnp.ones_like(x), how)),)


def _maximum(patterns: Patterns) -> Iterator[Edits]:
    for op, user in _averages(patterns):
        yield (Edit(user.outputs[0], (op.inputs[0],), functools.partial(_max, how=_windows(op))),)


def _mean(patterns: Patterns) -> Iterator[Edits]:
    for op in patterns.ops:
        if op.name == "reduce_window_max":
            how, n = _windows(op), math.prod(op.params["window_dimensions"])
            yield (Edit(op.outputs[0], (op.inputs[0],), lambda x, how=how, n=n: _sum(x, how) / n),)


def _padding(patterns: Patterns) -> Iterator[Edits]:
    """Equal on both sides, as torch pads."""
    for op in patterns.ops:
        if op.name in ("reduce_window_max", "reduce_window_sum"):
            padding = [tuple(map(int, each)) for each in op.params["padding"]]
            windows = op.params["window_dimensions"]
            other = [(w // 2, w // 2) if w > 1 else (0, 0) for w in windows]
            of = _max if op.name == "reduce_window_max" else _sum
            if other != padding:
                how = _windows(op, padding=other)
                yield (Edit(op.outputs[0], (op.inputs[0],), lambda x, of=of, how=how: of(x, how)),)


_REDUCED: dict[str, tuple[str, Callable[[Any, tuple[int, ...]], Any]]] = {
    "mean": ("x.mean(axis)", lambda x, axes: x.mean(axes)),
    "max": ("x.max(axis)", lambda x, axes: x.max(axes)),
    "sum": ("x.sum(axis)", lambda x, axes: x.sum(axes)),
    "first": ("x[:, 0]", lambda x, axes: jnp.take(x, 0, axes[0])),
    "last": ("x[:, -1]", lambda x, axes: jnp.take(x, x.shape[axes[0]] - 1, axes[0])),
}


def _reduced(name: str) -> Callable[[Patterns], Iterator[Edits]]:
    function = _REDUCED[name][1]

    def repair(patterns: Patterns) -> Iterator[Edits]:
        for op in patterns.ops:
            if op.name not in ("reduce_sum", "reduce_max", "reduce_min") or op.outputs[0].ndim < 2:
                continue
            axes = tuple(int(axis) for axis in op.params["axes"])
            if name in ("first", "last") and len(axes) > 1:
                continue
            result = op.outputs[0]
            ends = [u.outputs[0] for u in result.users if u.name in ("div", "mul") and u.outputs[0].ndim == result.ndim]
            for end in [result, *(x for x in ends if np.shape(x.aval) == result.shape)]:
                if not any(x.name == "log" for x in reach(result, MOVES)):
                    yield (Edit(end, (op.inputs[0],), lambda x, axes=axes: function(x, axes)),)
        for op in patterns.ops:
            value = op.outputs[0] if len(op.outputs) == 1 else None
            taken = op.name in ("slice", "dynamic_slice", "gather", "squeeze")
            given = op.inputs[0] if op.inputs else None
            if value is None or given is None or not taken or not value.floating or given.ndim != value.ndim + 1:
                continue
            lost = [i for i in range(given.ndim) if given.shape[:i] + given.shape[i + 1 :] == value.shape]
            for axis in lost:
                yield (Edit(value, (given,), lambda x, axis=axis: function(x, (axis,))),)

    return repair


ENTRIES = (
    Entry("pooling-padding-not-counted", "forward",
          "The mean over windows leaves out the padding, torch's AvgPool counts its zeros.",
          "nnx.avg_pool(x, window, strides, padding, count_include_pad=True)", _counted),
    Entry("pooling-padding-counted", "forward",
          "The mean over windows counts the padding's zeros, torch's count_include_pad=False leaves them out.",
          "nnx.avg_pool(x, window, strides, padding, count_include_pad=False)", _not_counted),
    Entry("pooling-not-max", "forward", "The mean over windows is taken, torch takes their maximum.",
          "nnx.max_pool(x, window, strides)", _maximum),
    Entry("pooling-not-mean", "forward", "The maximum over windows is taken, torch takes their mean.",
          "nnx.avg_pool(x, window, strides)", _mean),
    Entry("pooling-padding", "forward", "Windows are padded otherwise than torch pads them, which is equally.",
          "padding=[(p, p), (p, p)] with torch's padding p", _padding),
    *(Entry(f"reduced-not-{name}", "forward",
            f"What is taken of an axis, such as that of tokens, is another thing than torch's {name}.", code,
            _reduced(name)) for name, (code, _) in _REDUCED.items()),
)  # fmt: skip
