"""Activations: another function than torch's, one too many, one too few.

``repair(patterns)`` yields the replacements by which the function becomes torch's.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.patterns import Patterns, Region
from torch_bridge.trace.trace import Array

Edits = tuple[Edit, ...]

_FUNCTIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "relu": ("jax.nn.relu(x)", jax.nn.relu),
    "gelu": ("jax.nn.gelu(x, approximate=False)", lambda x: jax.nn.gelu(x, approximate=False)),
    "gelu-tanh": ("jax.nn.gelu(x, approximate=True)", lambda x: jax.nn.gelu(x, approximate=True)),
    "silu": ("jax.nn.silu(x)", jax.nn.silu),
    "tanh": ("jnp.tanh(x)", jnp.tanh),
    "sigmoid": ("jax.nn.sigmoid(x)", jax.nn.sigmoid),
    "leaky-relu": ("jax.nn.leaky_relu(x, 0.01)", lambda x: jnp.where(x >= 0, x, 0.01 * x)),
    "elu": ("jax.nn.elu(x)", jax.nn.elu),
    "selu": ("jax.nn.selu(x)", jax.nn.selu),
    "softplus": ("jax.nn.softplus(x)", jax.nn.softplus),
    "mish": ("x * jnp.tanh(jax.nn.softplus(x))", lambda x: x * jnp.tanh(jax.nn.softplus(x))),
    "relu6": ("jax.nn.relu6(x)", lambda x: jnp.clip(x, 0, 6)),
    "hardswish": ("jax.nn.hard_swish(x)", lambda x: x * jnp.clip(x + 3, 0, 6) / 6),
    "hardtanh": ("jax.nn.hard_tanh(x)", lambda x: jnp.clip(x, -1, 1)),
    "softsign": ("jax.nn.soft_sign(x)", lambda x: x / (1 + jnp.abs(x))),
}
"""torch's activations, by name: how they are written, and themselves."""

_OTHERS: dict[str, Callable[[Any], Any]] = {"hardsigmoid": lambda x: jnp.clip(x + 3, 0, 6) / 6}
"""Functions that a port may have, and that are not tried as torch's: of hardsigmoid torch takes the derivative 1 / 6 in
float32, in float64 as well."""

UNNAMED = "a function of its own"

_POINTS = np.array([-7.3, -3.1, -1.7, -0.6, -0.2, 0.3, 0.9, 1.4, 2.6, 5.2, 6.8])
_MISSING = ("relu", "gelu", "silu", "tanh", "sigmoid", "leaky-relu", "gelu-tanh", "softplus", "elu")
_OUTPUTS = ("dot_general", "conv_general_dilated", "add", "mul", "reshape", "transpose")


@functools.cache
def _at_points(name: str) -> Array:
    with jax.ensure_compile_time_eval():
        return np.asarray((_OTHERS.get(name) or _FUNCTIONS[name][1])(_POINTS), np.float64)


def _is(patterns: Patterns, region: Region, name: str) -> bool:
    return bool(np.allclose(_values(patterns, region), _at_points(name), rtol=1e-5, atol=1e-6))


def _values(patterns: Patterns, region: Region) -> Array:
    return patterns.function(region, _POINTS)


def port_words(patterns: Patterns, region: Region) -> str:
    """Return how the function of a region is called: that of torch's, or a function of its own."""
    for name in (*_FUNCTIONS, *_OTHERS):
        if _is(patterns, region, name):
            return name
    return UNNAMED


def _replaced(name: str) -> Callable[[Patterns], Iterator[Edits]]:
    function = _FUNCTIONS[name][1]

    def repair(patterns: Patterns) -> Iterator[Edits]:
        right = {region.result for region in patterns.regions if _is(patterns, region, name)}
        for region in patterns.regions:
            if region.result not in right:  # of something else, perhaps: another entry's
                yield (Edit(region.result, (region.given,), function, port_words(patterns, region)),)

    return repair


def _only_where(own: str, torchs: str) -> Callable[[Patterns], Iterator[Edits]]:
    def repair(patterns: Patterns) -> Iterator[Edits]:
        for region in patterns.regions:
            if _is(patterns, region, own) and not _is(patterns, region, torchs):
                yield (Edit(region.result, (region.given,), _FUNCTIONS[torchs][1]),)

    return repair


def _left_out(patterns: Patterns) -> Iterator[Edits]:
    for region in patterns.regions:
        yield (Edit(region.result, (region.given,), lambda x: x, port_words(patterns, region)),)


def _missing(name: str) -> Callable[[Patterns], Iterator[Edits]]:
    function = _FUNCTIONS[name][1]

    def repair(patterns: Patterns) -> Iterator[Edits]:
        for graph in patterns.graphs:
            for value in graph.values():
                following = {user.name for user in value.users}
                inside = value.name in ("dot_general", "conv_general_dilated") and following <= {"add", "reshape"}
                if value.name in _OUTPUTS and value.floating and value.ndim > 1 and not inside:
                    yield (Edit(value, (value,), function),)

    return repair


def _leaky(patterns: Patterns) -> Iterator[Edits]:
    for region in patterns.regions:
        values = _values(patterns, region)
        positive, negative = values[_POINTS > 0], values[_POINTS < 0] / _POINTS[_POINTS < 0]
        if np.allclose(positive, _POINTS[_POINTS > 0]) and np.allclose(negative, negative[0], atol=1e-6):
            yield (Edit(region.result, (region.given,), lambda x, slope: jnp.where(x >= 0, x, slope * x),
                        own=float(negative[0])),)  # fmt: skip


def _elu(patterns: Patterns) -> Iterator[Edits]:
    for region in patterns.regions:
        values = _values(patterns, region)
        positive, negative = values[_POINTS > 0], values[_POINTS < 0] / np.expm1(_POINTS[_POINTS < 0])
        if np.allclose(positive, _POINTS[_POINTS > 0]) and np.allclose(negative, negative[0], atol=1e-6):
            yield (Edit(region.result, (region.given,),
                        lambda x, alpha: jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0.0, x))),
                        own=float(negative[0])),)  # fmt: skip


ENTRIES = (
    Entry("gelu-approximated", "forward",
          "The gelu is that of tanh, jax.nn.gelu's default; torch's is that of erf, torch.nn.GELU's default.",
          "jax.nn.gelu(x, approximate=False)", _only_where("gelu-tanh", "gelu")),
    Entry("gelu-not-approximated", "forward",
          "The gelu is that of erf, torch's is that of tanh: torch.nn.GELU(approximate='tanh').",
          "jax.nn.gelu(x, approximate=True)", _only_where("gelu", "gelu-tanh")),
    *(Entry(f"activation-not-{name}", "forward", f"The activation is another function than torch's {name}.", code,
            _replaced(name), f"the activation is {{words}}, torch's is {name}")
      for name, (code, _) in _FUNCTIONS.items()),
    Entry("activation-extra", "forward", "There is an activation, which torch lacks.", "x, without an activation",
          _left_out, "there is an activation here, {words}, which torch lacks"),
    *(Entry(f"{name}-missing", "forward", f"A {name} is missing, which torch has.", _FUNCTIONS[name][0], _missing(name))
      for name in _MISSING),
    Entry("leaky-slope", "forward", "The slope of the leaky relu below 0 is another number.",
          "jax.nn.leaky_relu(x, {torch})", _leaky, "the slope of the leaky relu is {constant}, torch's {torch}",
          start=0.1),
    Entry("elu-alpha", "forward", "The alpha of the elu is another number.", "jax.nn.elu(x, {torch})", _elu,
          "the alpha of the elu is {constant}, torch's {torch}", start=1.0),
)  # fmt: skip
