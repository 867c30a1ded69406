"""What the JAX side of a run holds, under torch's names and in torch's layout, and back."""

import platform
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax

from torch_bridge.replaying.model_state import Buffers, ModelState, model_state_of
from torch_bridge.replaying.steps import observed_of
from torch_bridge.trace.phases import LAST
from torch_bridge.trace.trace import Array, Step, Trace, in_phase
from torch_bridge.translate.optimizers import adapter_named, registered
from torch_bridge.translate.states import with_averages, with_torch_state
from torch_bridge.weights import Weights, same_weights

_WHOLE = ("loss", "data")  # quantities of the whole step


def jax_header(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header of a JAX run that is to be compared with the run of ``header``."""
    return {
        "side": "jax",
        **{key: header[key] for key in ("quantities", "numbers", "state") if key in header},
        "versions": {"jax": jax.__version__, "optax": optax.__version__, "numpy": np.__version__},
        "platform": {"machine": platform.machine(), "backend": jax.default_backend()},
    }


def header_of(torch_class: str) -> dict[str, Any]:
    """Return what a header needs for the states of an optimizer to be read, without a recorded run.

    Args:
        torch_class: its class by module and name.

    Raises:
        ValueError: there is no adapter for it.
    """
    adapter = adapter_named(torch_class)
    if adapter.rule is None:
        raise ValueError(
            f"like={torch_class!r} is no optimizer with an adapter here: give the recorded trace, or one of "
            f"{', '.join(registered())}"
        )
    return {
        "recipe": {"optimizer": torch_class},
        "quantities": list(adapter.quantities),
        "numbers": [number.quantity for number in adapter.numbers],
        "state": list(adapter.state),
    }


def layout_of(trace: Trace, weights: Weights | None, buffers: Buffers, *, of_step: bool) -> "Layout":
    """Return how a port lies to a recorded run.

    Args:
        trace: the recorded run.
        weights: the places of its parameters; None for a dict by torch's names.
        buffers: how its model state lies, see `Buffers`.
        of_step: the port is a step function, whose model state is by torch's names where nothing is said.
    """
    if of_step and buffers is None and in_phase(trace.initial, "buffer"):
        buffers = True
    parameters = weights or same_weights(in_phase(trace.initial, "parameter"))
    return Layout(parameters, trace.static, model_state_of(buffers, trace.initial))


class Layout:
    """Moves quantities between a JAX run and its trace.

    Attributes:
        weights: how parameters lie.
        model_state: how the model's state lies; None takes a dict by torch's names.
        observed: what there is to look for.
    """

    def __init__(self, weights: Weights, header: Mapping[str, Any], model_state: ModelState | None = None) -> None:
        """Prepare for the run with this header, ``trace.static``."""
        self.weights, self.model_state, self.observed = weights, model_state, observed_of(header)
        self._numbers = tuple(header.get("numbers", ("learning_rate",)))

    def named(self, observed: Mapping[str, Any]) -> dict[str, Array]:
        """Flatten what a step observed: ``phase/name`` -> array in torch's layout."""
        values: dict[str, Array] = {}
        trees = {phase: value for phase, value in observed.items() if phase not in (*self._numbers, *_WHOLE)}
        named = {phase: self._in_torchs(phase, tree, observed) for phase, tree in trees.items()}
        started, state = named.pop("started", {}), self.observed.state
        for phase, value in observed.items():
            if phase in self._numbers:
                numbers = value if isinstance(value, list | tuple) else [value]
                values |= {f"{phase}/{i}": np.asarray(number) for i, number in enumerate(numbers)}
            elif phase in _WHOLE:
                values[phase] = np.asarray(value)
            else:
                for name, array in named.get(phase, {}).items():
                    absent = name not in named.get("gradient", {name}) and phase not in LAST
                    if not absent and (phase not in state or bool(started.get(name, True))):
                        values[f"{phase}/{name}"] = array
        return values

    def _in_torchs(self, phase: str, tree: Any, observed: Mapping[str, Any]) -> dict[str, Array]:
        """A tree by torch's names, in torch's layout; of the scalars beside each parameter one value each."""
        if phase == "buffer":
            return (self.model_state or ModelState(same_weights(tree))).to_torch(tree)
        if phase not in (*self.observed.adapter.scalars, "started"):
            return self.weights.to_torch(tree)
        # Scalars have no layout to be moved by: each is spread over its parameter, moved, and taken up again.
        structure: Any = jax.tree.structure(observed["parameter"])
        leaves = jax.tree.leaves(observed["parameter"])
        spread = [
            None if scalar is None else np.broadcast_to(np.asarray(scalar), np.shape(leaf))
            for scalar, leaf in zip(structure.flatten_up_to(tree), leaves, strict=True)
        ]
        moved = self.weights.to_torch(jax.tree.unflatten(structure, spread))
        return {name: np.asarray(np.min(array)) for name, array in moved.items() if array.size}

    def first_state(self, tx: optax.GradientTransformation, params: Any, before: Step) -> optax.OptState:
        """Return the state that a run begins with: the rule's own; where torch's optimizer had one already, torch's."""
        own = tx.init(params)
        return self._with_averages(own, before) if self._is_new(before) else self.with_torchs(own, params, before)

    def _is_new(self, before: Step) -> bool:
        """Whether torch's optimizer had made no step yet; some have a state by then, such as Adagrad."""
        state = self.observed.adapter.state
        steps = in_phase(before, "step").values() if "step" in state else ()
        return all(not np.any(step) for step in steps) if steps else not any(in_phase(before, key) for key in state)

    def with_torchs(self, opt_state: optax.OptState, params: Any, before: Step) -> optax.OptState:
        """Return a state with what torch's optimizer held before a step, and torch's averages.

        Args:
            opt_state: any optax state.
            params: torch's parameters before the step, on the JAX side.
            before: torch's state before it, see `Trace.before`.
        """
        adapter = self.observed.adapter
        values = {key: (self._spread if key in adapter.scalars else self._to_jax)(key, before) for key in adapter.state}
        return self._with_averages(with_torch_state(opt_state, params, adapter, values), before)

    def _with_averages(self, opt_state: optax.OptState, before: Step) -> optax.OptState:
        averages = in_phase(before, "average")
        return with_averages(opt_state, self.weights.to_jax(averages)) if averages else opt_state

    def _to_jax(self, key: str, before: Step) -> Any:
        return self.weights.to_jax(in_phase(before, key), partial=True)

    def _spread(self, key: str, before: Step) -> Any:
        """One number for each parameter: moved as in `_in_torchs`."""
        numbers = {
            name: np.broadcast_to(number, np.shape(before[f"parameter/{name}"]))
            for name, number in in_phase(before, key).items()
        }
        return jax.tree.map(
            lambda leaf: None if leaf is None else np.ravel(leaf)[:1].sum(),
            self.weights.to_jax(numbers, partial=True),
            is_leaf=lambda leaf: leaf is None,
        )
