"""torch's rule in float64: what a recipe makes of one step's gradients, and how each of its numbers moves that.

The rule is the library's own, which tests hold against torch in every bit; in float64 its roundings are nine orders of
magnitude below any difference worth finding.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import numpy as np
import optax

from funcsgd import observing
from funcsgd.arithmetic.float64_words import doubles
from torch_bridge.replaying.steps import shown
from torch_bridge.trace.trace import Array
from torch_bridge.translate.clip_grad import clipping_call
from torch_bridge.translate.optimizers import Adapter, adapter_named, rule_of, with_numbers
from torch_bridge.translate.states import torch_state, with_torch_state

Columns: TypeAlias = dict[str, Array]
Named: TypeAlias = dict[str, dict[str, Array]]
"""Phase -> name -> array."""

_SHARE = 2.0**-20  # by which inputs are moved, to measure how much of their rounding arrives
_DRAWS = 2


@dataclass(frozen=True)
class Ideal:
    """One quantity of one parameter, in float64.

    Attributes:
        value: what torch's formula gives.
        columns: computes its derivative by each number of the rule, by torch's name, times that one's unit.
        at: computes its value with some numbers, by torch's name, changed by shares of their units.
        size: 2-norm by which it would move if every input moved by as much as itself, in random directions: its
            rounding in float64 is this times a few units of roundoff.
    """

    value: Array
    columns: Callable[[], Columns] = dict
    at: Callable[[Mapping[str, float]], Array] | None = None
    size: float = 0.0


@dataclass(frozen=True)
class IdealGroup:
    """A parameter group at one step.

    Attributes:
        names: the parameters in it.
        options: torch's hyperparameters in force.
        units: by torch's name of a number, the change of it that counts as a relative change of 1.
    """

    names: Sequence[str]
    options: Mapping[str, Any]
    units: Mapping[str, float] = field(default_factory=dict)


def ideal_step(
    torch_class: str,
    groups: Sequence[IdealGroup],
    params: Mapping[str, Array],
    state: Mapping[str, Mapping[str, Array]],
    gradients: Mapping[str, Array],
) -> dict[str, dict[str, Ideal]]:
    """Return what one step of a torch optimizer is in real arithmetic, to the rounding of float64.

    Args:
        torch_class: the optimizer, see `torch_bridge.translate.optimizers.Adapter`.
        groups: the parameter groups.
        params: name -> array of any floating dtype, all parameters.
        state: torch's key -> name -> array, as far as it exists.
        gradients: name -> array, clipped as they are; a parameter without one is not updated, and is left out of the
            result.

    Returns:
        phase -> name -> `Ideal`: what the rule shows, the state that it leaves, and under ``"parameter"`` the change.

    Exactness: the rounding of float64.
    """
    phases: dict[str, dict[str, Ideal]] = {}
    for group in groups:
        names = [name for name in group.names if name in gradients]
        if not names:
            continue
        inputs = (
            {name: _wide(params[name]) for name in names},
            {key: {name: _wide(tree[name]) if name in tree else None for name in names} for key, tree in state.items()},
            {name: _wide(gradients[name]) for name in names},
        )
        for phase, found in _group(torch_class, group, inputs).items():
            phases.setdefault(phase, {}).update(found)
    return phases


def _group(torch_class: str, group: IdealGroup, inputs: Any) -> dict[str, dict[str, Ideal]]:
    adapter = adapter_named(torch_class)
    program = _program(torch_class, tuple(sorted((key, group.options[key]) for key in adapter.flags)))
    numbers = np.array([float(number.of(group.options)) for number in adapter.numbers])
    labels = {number.label: i for i, number in enumerate(adapter.numbers) if number.fitted}
    units = {label: group.units.get(label, numbers[i] or 1.0) for label, i in labels.items()}
    values = program.values(numbers, *inputs)
    sizes = _sizes(program, numbers, inputs, values)

    @functools.cache
    def derivatives() -> Named:
        return program.derivatives(numbers, *inputs)

    @functools.lru_cache(maxsize=8)
    def moved(changes: tuple[tuple[str, float], ...]) -> Named:
        other = numbers.copy()
        for label, change in changes:
            other[labels[label]] += change * units[label]
        return program.values(other, *inputs)

    def ideal(phase: str, name: str) -> Ideal:
        return Ideal(
            values[phase][name],
            lambda: {label: derivatives()[phase][name][..., i] * units[label] for label, i in labels.items()},
            lambda changes: moved(tuple(sorted(changes.items())))[phase][name],
            sizes[phase][name],
        )

    return {phase: {name: ideal(phase, name) for name in tree} for phase, tree in values.items()}


def _sizes(program: "_Program", numbers: Array, inputs: Any, values: Named) -> dict[str, dict[str, float]]:
    """The move of each quantity, relative to the share by which the inputs are moved."""
    random = np.random.default_rng(0)

    def nudged(x: Any) -> Any:
        return x if x is None or not np.ndim(x) else x * (1 + _SHARE * random.choice((-1.0, 1.0), np.shape(x)))

    sizes: dict[str, dict[str, float]] = {phase: dict.fromkeys(tree, 0.0) for phase, tree in values.items()}
    for _ in range(_DRAWS):
        others = program.values(numbers, *jax.tree.map(nudged, inputs, is_leaf=lambda x: x is None))
        for phase, tree in others.items():
            for name, other in tree.items():
                with np.errstate(invalid="ignore", over="ignore"):
                    gap = np.nan_to_num(np.abs(other - values[phase][name]))
                    sizes[phase][name] = max(sizes[phase][name], float(np.sqrt(np.sum(gap**2))) / _SHARE)
    return sizes


class _Program:
    """A rule in float64 as a function of its numbers, compiled at its first evaluation."""

    def __init__(self, adapter: Adapter, flags: Mapping[str, Any]) -> None:
        self._adapter, self._flags = adapter, flags
        self._values = jax.jit(self._quantities)
        self._derivatives = jax.jit(jax.jacfwd(self._quantities))

    def values(self, numbers: Array, params: Any, state: Any, gradients: Any) -> Named:
        """Return every quantity of one step: phase -> name -> float64 array."""
        with doubles():
            found: Named = jax.device_get(self._values(numbers, params, state, gradients))
        return found

    def derivatives(self, numbers: Array, params: Any, state: Any, gradients: Any) -> Named:
        """Return the derivatives by the numbers, along a last axis."""
        with doubles():
            found: Named = jax.device_get(self._derivatives(numbers, params, state, gradients))
        return found

    def _quantities(self, numbers: jax.Array, params: Any, state: Any, gradients: Any) -> dict[str, Any]:
        adapter = self._adapter
        options: dict[str, Any] = dict(self._flags)
        for number in adapter.numbers:
            options[number.option] = (0.0, 0.0) if number.index is not None else 0.0
        options = with_numbers(options, {number: numbers[i] for i, number in enumerate(adapter.numbers)})
        tx = rule_of(adapter)(options.pop("lr"), **options)
        opt_state = with_torch_state(tx.init(params), params, adapter, state)
        with observing() as seen:
            updates, opt_state = tx.update(gradients, opt_state, params)
        found = shown(seen, params, adapter.quantities)
        counts = ("started", *adapter.scalars)
        found |= {key: tree for key, tree in torch_state(opt_state, params, adapter).items() if key not in counts}
        return {**found, "parameter": changes(params, updates)}


def changes(params: Any, updates: Any) -> Any:
    """Return by how much updates change parameters, as arrays."""
    structure: Any = jax.tree.structure(params)
    after = optax.apply_updates(params, updates)
    return jax.tree.unflatten(
        structure,
        [
            update if isinstance(update, jax.Array | np.ndarray) or update is None else new - param
            for update, new, param in zip(
                structure.flatten_up_to(updates), jax.tree.leaves(after), jax.tree.leaves(params), strict=True
            )
        ],
    )


@functools.lru_cache(maxsize=64)
def _program(torch_class: str, flags: tuple[tuple[str, Any], ...]) -> _Program:
    return _Program(adapter_named(torch_class), dict(flags))


def clipped(gradients: Mapping[str, Array], arguments: Mapping[str, Any], order: Sequence[str]) -> dict[str, Array]:
    """Return gradients as torch's clipping functions leave them, in float64.

    Source: ``torch.nn.utils.clip_grad``.
    """
    gradients = {name: np.asarray(value, np.float64) for name, value in gradients.items()}
    function, options = clipping_call(arguments, order)
    if function == "clip_grad_value":
        limit = float(options["clip_value"])
        return {name: np.clip(g, -limit, limit) for name, g in gradients.items()}
    p = float(options.get("norm_type", 2.0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        total = np.linalg.norm([np.linalg.norm(np.ravel(g), p) for g in gradients.values()], p)
        factor = np.minimum(float(options["max_norm"]) / (total + 1e-6), 1.0)
        return {name: g * factor for name, g in gradients.items()}


def _wide(x: Any) -> Array:
    return np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64)
