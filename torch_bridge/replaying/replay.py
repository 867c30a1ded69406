"""A JAX run -> Trace: driven by torch's gradients, restarted from torch's state, or on its own."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import jax
import numpy as np
import optax

from torch_bridge.replaying.distinct import compiled
from torch_bridge.replaying.envelope import Envelope, distance, one_ulp
from torch_bridge.replaying.monte_carlo import shaken
from torch_bridge.replaying.steps import Carry, StepFunction, compiled_step, observed_of, optax_step
from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.phases import phase_of
from torch_bridge.trace.trace import Array, Step, Trace, in_phase
from torch_bridge.translate.optimizers import Adapter
from torch_bridge.translate.states import with_averages, with_torch_state
from torch_bridge.translate.weights import Weights, same_weights

Drive: TypeAlias = Literal["update", "resync", "free"]
"""The drives of a replay: by torch's gradients; from torch's state, anew at each step; or from its start alone."""

DRIVES: tuple[Drive, ...] = get_args(Drive)

_WHOLE = ("loss", "data")  # quantities of the whole step
_SCALARS = ("step", "started")  # one number for each parameter


class Replay:
    """The JAX side of a comparison, one step at a time; `replay` runs it over a whole trace.

    Attributes:
        seconds: time spent in the compiled step so far, its first call (which compiles) not counted.
        builder: the trace so far.
        state: what the next step begins with; with an optax rule, parameters and its state.
    """

    def __init__(
        self,
        initial: Step,
        tx: optax.GradientTransformation | None = None,
        *,
        header: Mapping[str, Any],
        drive: Drive,
        loss_fn: Callable[[Any, Any], jax.Array] | None = None,
        weights: Weights | None = None,
        opt_state: optax.OptState | None = None,
        step: StepFunction | None = None,
        state: Carry = None,
        shadows: int = 0,
        digest_every: int | None = None,
    ) -> None:
        """Prepare a replay; the arguments are those of `replay`, ``initial`` and ``header`` the trace's."""
        _check(drive, tx, loss_fn, step)
        self._drive, self._observed = drive, observed_of(header)
        self._numbers = tuple(header.get("numbers", ("learning_rate",)))
        self._weights = weights or same_weights(in_phase(initial, "parameter"))
        self._gives_metric = tx is not None
        if tx is not None:
            params = self._weights.to_jax(in_phase(initial, "parameter"))
            if opt_state is None:
                opt_state = self._with_torchs(tx.init(params), params, initial)
            state = (params, opt_state)
            loss_fn = None if drive == "update" else loss_fn
            step = optax_step(tx, loss_fn, self._observed)
        assert step is not None  # _check saw to it
        self.state = state
        self._step = compiled(step) if tx is None else compiled_step(tx, loss_fn, self._observed)
        self._shadow_step = jax.jit(jax.vmap(shaken(step), in_axes=(0, 0, None)))
        self._shadows = shadows
        self._shadow_states = _copies(state, shadows) if shadows else None
        self._distances: dict[str, list[list[float]]] = {}
        self._floors: dict[str, list[float]] = {}
        self._calls = 0
        self.seconds = 0.0
        self.builder = TraceBuilder(
            {
                "side": "jax",
                "drive": drive,
                **{key: header[key] for key in ("quantities", "numbers", "state") if key in header},
                "versions": {"jax": jax.__version__, "optax": optax.__version__, "numpy": np.__version__},
                "platform": {"machine": platform.machine(), "backend": jax.default_backend()},
            },
            digest_every=digest_every,
            in_full=("data",),
            statistics=False,
        )
        self.builder.initial = dict(initial)

    def step(self, before: Step, recorded: Step, batch: Any = None) -> dict[str, Array]:
        """Make one step and return what it did.

        Args:
            before: torch's state before the step (the drive `resync` starts from it).
            recorded: what torch did (the drive `update` takes its gradients, all take its metric).
            batch: what ``loss_fn`` takes, for the drives `resync` and `free`.
        """
        if self._drive == "update":
            batch = self._weights.to_jax(in_phase(recorded, "gradient"), partial=True)
        if self._drive == "resync":
            params = self._weights.to_jax(in_phase(before, "parameter"))
            self.state = (params, self._with_torchs(self.state[1], params, before))
        if self._gives_metric:
            batch = (batch, recorded.get("metric"))
        state, start = self.state, time.perf_counter()
        self.state, observed = jax.block_until_ready(self._step(state, batch))  # type: ignore[no-untyped-call]
        if self._calls:
            self.seconds += time.perf_counter() - start
        values = self._named(observed)
        if self._shadows:
            self._shake(state, batch, values)
        self._calls += 1
        self.builder.append(values)
        return values

    def _with_torchs(self, opt_state: optax.OptState, params: Any, before: Step) -> optax.OptState:
        return with_state_before(opt_state, params, before, self._observed.adapter, self._weights)

    def trace(self) -> Trace:
        """Return the trace of the steps so far, with the rounding envelope if there are shadows."""
        self.builder.static["seconds"] = self.seconds
        if not self._shadows:
            return self.builder.build()
        envelope = Envelope(
            {key: np.array(rows) for key, rows in self._distances.items()},
            {key: np.array(row) for key, row in self._floors.items()},
        )
        return self.builder.build(envelope.to_arrays())

    def _shake(self, state: Carry, batch: Any, values: Mapping[str, Array]) -> None:
        states = _copies(state, self._shadows) if self._drive == "resync" else self._shadow_states
        seeds = np.arange(self._shadows, dtype=np.uint32) + np.uint32(self._calls * self._shadows)
        self._shadow_states, observed = self._shadow_step(seeds, states, batch)
        observed = jax.device_get(observed)
        runs = [self._named(jax.tree.map(lambda x, k=k: x[k], observed)) for k in range(self._shadows)]
        for key, value in values.items():
            if phase_of(key) == "data":
                continue
            self._distances.setdefault(key, []).append([distance(value, run[key]) for run in runs])
            self._floors.setdefault(key, []).append(one_ulp(value))

    def _named(self, observed: Mapping[str, Any]) -> dict[str, Array]:
        """Flatten what a step observed: ``phase/name`` -> array in torch's layout."""
        values: dict[str, Array] = {}
        trees = {phase: value for phase, value in observed.items() if phase not in (*self._numbers, *_WHOLE)}
        named = {phase: self._in_torchs(phase, tree, observed) for phase, tree in trees.items()}
        started, state = named.pop("started", {}), self._observed.state
        for phase, value in observed.items():
            if phase in self._numbers:
                numbers = value if isinstance(value, list | tuple) else [value]
                values |= {f"{phase}/{i}": np.asarray(number) for i, number in enumerate(numbers)}
            elif phase in _WHOLE:
                values[phase] = np.asarray(value)
            else:
                for name, array in named.get(phase, {}).items():
                    absent = name not in named.get("gradient", {name}) and phase not in ("parameter", "average")
                    if not absent and (phase not in state or bool(started.get(name, True))):
                        values[f"{phase}/{name}"] = array
        return values

    def _in_torchs(self, phase: str, tree: Any, observed: Mapping[str, Any]) -> dict[str, Array]:
        """A tree by torch's names, in torch's layout; of the scalars beside each parameter one value each."""
        if phase not in _SCALARS:
            return self._weights.to_torch(tree)
        # Scalars have no layout to be moved by: each is spread over its parameter, moved, and taken up again.
        structure: Any = jax.tree.structure(observed["parameter"])
        leaves = jax.tree.leaves(observed["parameter"])
        spread = [
            None if scalar is None else np.broadcast_to(np.asarray(scalar), np.shape(leaf))
            for scalar, leaf in zip(structure.flatten_up_to(tree), leaves, strict=True)
        ]
        moved = self._weights.to_torch(jax.tree.unflatten(structure, spread))
        return {name: np.asarray(array.flat[0]) for name, array in moved.items() if array.size}


def with_state_before(
    opt_state: optax.OptState, params: Any, before: Step, adapter: Adapter, weights: Weights
) -> optax.OptState:
    """Return a state with what torch's optimizer held before a step, and torch's averages.

    Args:
        opt_state: any optax state.
        params: torch's parameters before the step, on the JAX side.
        before: torch's state before it, see `Trace.before`.
        adapter: of torch's optimizer.
        weights: how parameters lie.
    """
    values = {key: weights.to_jax(in_phase(before, key), partial=True) for key in adapter.state if key not in _SCALARS}
    if "step" in adapter.state:
        steps = {
            name: np.broadcast_to(step, np.shape(before[f"parameter/{name}"]))
            for name, step in in_phase(before, "step").items()
        }
        spread = weights.to_jax(steps, partial=True)
        values["step"] = jax.tree.map(
            lambda leaf: None if leaf is None else np.ravel(leaf)[:1].sum(), spread, is_leaf=lambda leaf: leaf is None
        )
    opt_state = with_torch_state(opt_state, params, adapter, values)
    if averages := in_phase(before, "average"):
        opt_state = with_averages(opt_state, weights.to_jax(averages))
    return opt_state


def replay(
    trace: Trace,
    tx: optax.GradientTransformation | None = None,
    *,
    drive: Drive,
    loss_fn: Callable[[Any, Any], jax.Array] | None = None,
    data: Any = None,
    weights: Weights | None = None,
    opt_state: optax.OptState | None = None,
    step: StepFunction | None = None,
    state: Carry = None,
    order: Sequence[Array] | None = None,
    shadows: int = 0,
    digest_every: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Trace:
    """Run the JAX port through the steps of a recorded run.

    The drives: `update` feeds torch's gradients to the JAX rule and isolates the optimizer; `resync` starts each step
    from torch's state and names the guilty step; `free` lets both run alone, which is what the user feels.

    Args:
        trace: the recorded run, with full values (else `torch_bridge.restore` it first).
        tx: the JAX rule, any optax transformation.
        drive: ``"update"``, ``"resync"`` or ``"free"``.
        loss_fn: ``loss_fn(params, batch)`` -> scalar, pure; for the drives `resync` and `free`.
        data: a pytree of arrays with a leading axis of examples, from which the trace's indices take each batch; or
            a function ``(step, indices) -> batch`` (``indices`` is None if the trace has none).
        weights: how JAX's parameters lie to torch's, see `linear_weights`; None keeps them in a dict by torch's names,
            in torch's layout.
        opt_state: the state of ``tx`` to begin with; None takes ``tx.init``. Buffers come from the trace.
        step: in place of ``tx`` and ``loss_fn``, any function ``(state, batch) -> (state, observed)`` that reports
            what it did, by phase; the drive is `free`.
        state: the first ``state`` for ``step``.
        order: the indices of each step's batch as the port draws them; None takes the trace's. For the drive `free`.
        shadows: how many runs with other roundings show the spread of this one, for information; 0 or at least 2.
        digest_every: None keeps every tensor. A number k keeps 128-bit digests, and every k-th tensor, see `record`.
        progress: called after each step.

    Returns:
        A `Trace` of the JAX run, in torch's layout and under torch's names; the spread is in its ``extra``.

    Raises:
        ValueError: an argument that the drive needs is missing, with its name.

    Exactness: `update` is bitwise for funcsgd's rules; `resync` and `free` are rounding.
    """
    if shadows == 1 or shadows < 0:
        raise ValueError(f"shadows must be 0, or at least 2 to measure a spread, but got {shadows}")
    batch_of = batches_of(data)
    side = Replay(
        trace.initial, tx, header=trace.static, drive=drive, loss_fn=loss_fn, weights=weights, opt_state=opt_state,
        step=step, state=state, shadows=shadows, digest_every=digest_every,
    )  # fmt: skip
    for t in range(trace.n_steps):
        recorded = trace.step(t)
        before = trace.before(t) if drive == "resync" else {}
        indices = indices_of(recorded) if order is None or drive != "free" else order[t]
        side.step(before, recorded, None if drive == "update" else batch_of(t, indices))
        progress()
    return side.trace()


def _check(drive: str, tx: Any, loss_fn: Any, step: Any) -> None:
    if drive not in DRIVES:
        raise ValueError(f"no drive {drive!r}: there are {', '.join(DRIVES)}")
    if (tx is None) == (step is None):
        raise ValueError("give either tx=, an optax transformation, or step=, a function that reports what it did")
    if step is not None and drive != "free":
        raise ValueError(f"a step function can only run free, but the drive is {drive!r}: give tx= and loss_fn=")
    if tx is not None and drive != "update" and loss_fn is None:
        raise ValueError(f"the drive {drive!r} needs loss_fn=, the pure function loss_fn(params, batch)")


def batches_of(data: Any) -> Callable[[int, Array | None], Any]:
    """Return the function ``(step, indices) -> batch`` for what `replay` takes as ``data``."""
    if callable(data):
        return data  # type: ignore[no-any-return]

    def take(step: int, indices: Array | None) -> Any:
        if data is None:
            raise ValueError(
                "the drives 'resync' and 'free' need data=: arrays, or a function (step, indices) -> batch"
            )
        if indices is None:
            raise ValueError(
                "the trace does not hold the examples of each step: record with loader=, or give data= as a function "
                "(step, indices) -> batch"
            )
        return jax.tree.map(lambda array: np.asarray(array)[indices], data)

    return take


def indices_of(recorded: Step) -> Array | None:
    """Return the indices of a step's examples, int64; None if the trace does not hold them."""
    return recorded["data"][recorded["data"] >= 0] if "data" in recorded else None  # -1 pads a shorter batch


def _copies(state: Carry, n: int) -> Carry:
    return jax.tree.map(lambda x: jax.numpy.broadcast_to(x, (n, *np.shape(x))), state)
