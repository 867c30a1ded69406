"""A JAX run -> Trace: driven by torch's gradients, restarted from torch's state, or on its own."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import jax
import numpy as np
import optax

from torch_bridge.replaying.batches import batches_of, indices_of
from torch_bridge.replaying.distinct import compiled
from torch_bridge.replaying.envelope import Envelope, distance, one_ulp
from torch_bridge.replaying.layout import Layout, jax_header
from torch_bridge.replaying.model_state import Buffers, model_state_of
from torch_bridge.replaying.monte_carlo import shaken
from torch_bridge.replaying.steps import Carry, LossFn, StepFunction, compiled_step, optax_step
from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.phases import phase_of
from torch_bridge.trace.trace import Array, Step, Trace, in_phase
from torch_bridge.weights import Weights, require_same_training, same_weights

Drive: TypeAlias = Literal["update", "resync", "free"]
"""The drives of a replay: by torch's gradients; from torch's state, anew at each step; or from its start alone."""

DRIVES: tuple[Drive, ...] = get_args(Drive)


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
        loss_fn: LossFn | None = None,
        weights: Weights | None = None,
        buffers: Buffers = None,
        opt_state: optax.OptState | None = None,
        step: StepFunction | None = None,
        state: Carry = None,
        shadows: int = 0,
        keep: Keep | None = None,
    ) -> None:
        """Prepare a replay; the arguments are those of `replay`, ``initial`` and ``header`` the trace's."""
        _check(drive, tx, loss_fn, step)
        self._drive = drive
        self._weights = weights or same_weights(in_phase(initial, "parameter"))
        require_same_training(self._weights)
        self._model_state = None if drive == "update" else model_state_of(buffers, initial)
        self._layout = Layout(self._weights, header, self._model_state)
        self._gives_metric = tx is not None
        if tx is not None:
            params = self._weights.to_jax(in_phase(initial, "parameter"))
            if opt_state is None:
                opt_state = self._layout.first_state(tx, params, initial)
            state = (params, opt_state, *self._buffers(initial))
            loss_fn = None if drive == "update" else loss_fn
            step = optax_step(tx, loss_fn, self._layout.observed, self._model_state is not None)
        assert step is not None  # _check saw to it
        self.state = state
        self._step = compiled(step) if tx is None else self._compiled(tx, loss_fn)
        self._shadow_step = jax.jit(jax.vmap(shaken(step), in_axes=(0, 0, None)))
        self._shadows = shadows
        self._shadow_states = _copies(state, shadows) if shadows else None
        self._distances: dict[str, list[list[float]]] = {}
        self._floors: dict[str, list[float]] = {}
        self._calls = 0
        self.seconds = 0.0
        self.builder = TraceBuilder({**jax_header(header), "drive": drive}, keep=keep)
        self.builder.initial = dict(initial)

    def _compiled(self, tx: optax.GradientTransformation, loss_fn: LossFn | None) -> StepFunction:
        return compiled_step(tx, loss_fn, self._layout.observed, self._model_state is not None)

    def _buffers(self, state: Step) -> tuple[Any, ...]:
        return () if self._model_state is None else (self._model_state.to_jax(state),)

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
            opt_state = self._layout.with_torchs(self.state[1], params, before) if self._calls else self.state[1]
            self.state = (params, opt_state, *self._buffers(before))
        if self._gives_metric:
            batch = (batch, recorded.get("metric"))
        state, start = self.state, time.perf_counter()
        self.state, observed = jax.block_until_ready(self._step(state, batch))  # type: ignore[no-untyped-call]
        if self._calls:
            self.seconds += time.perf_counter() - start
        values = self._layout.named(observed)
        if self._shadows:
            self._shake(state, batch, values)
        self._calls += 1
        self.builder.append(values)
        return values

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
        runs = [self._layout.named(jax.tree.map(lambda x, k=k: x[k], observed)) for k in range(self._shadows)]
        for key, value in values.items():
            if phase_of(key) == "data":
                continue
            self._distances.setdefault(key, []).append([distance(value, run[key]) for run in runs])
            self._floors.setdefault(key, []).append(one_ulp(value))


def replay(
    trace: Trace,
    tx: optax.GradientTransformation | None = None,
    *,
    drive: Drive,
    loss_fn: LossFn | None = None,
    data: Any = None,
    weights: Weights | None = None,
    buffers: Buffers = None,
    opt_state: optax.OptState | None = None,
    step: StepFunction | None = None,
    state: Carry = None,
    order: Sequence[Array] | None = None,
    shadows: int = 0,
    keep: Keep | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Trace:
    """Run the JAX port through the steps of a recorded run.

    The drives: `update` feeds torch's gradients to the JAX rule and isolates the optimizer; `resync` starts each step
    from torch's state and names the guilty step; `free` lets both run alone, which is what the user feels.

    Args:
        trace: the recorded run, with full values (else `torch_bridge.restore` it first).
        tx: the JAX rule, any optax transformation.
        drive: ``"update"``, ``"resync"`` or ``"free"``.
        loss_fn: ``loss_fn(params, batch)`` -> scalar, pure; for the drives `resync` and `free`. With ``buffers`` it is
            ``loss_fn(params, batch, model_state) -> (scalar, model_state)``, as for `funcsgd.train`.
        data: a pytree of arrays with a leading axis of examples, from which the trace's indices take each batch; or
            a function ``(step, indices) -> batch`` (``indices`` is None if the trace has none). None takes the batches
            that the trace holds, where its run's examples have no indices.
        weights: how JAX's parameters lie to torch's, see `map_weights`; None keeps them in a dict by torch's names,
            in torch's layout.
        buffers: the port has a model state, such as running statistics, and how it lies to torch's buffers: True for
            a dict by torch's names in torch's layout, or ``map_weights(torch_buffers, model_state)``.
        opt_state: the state of ``tx`` to begin with; None takes ``tx.init``, and torch's state if its optimizer had
            made steps before.
        step: in place of ``tx`` and ``loss_fn``, any function ``(state, batch) -> (state, observed)`` that reports
            what it did, by phase; the drive is `free`. A model state is reported as ``"buffer"``.
        state: the first ``state`` for ``step``.
        order: the indices of each step's batch as the port draws them; None takes the trace's. For the drive `free`.
        shadows: how many runs with other roundings show the spread of this one, for information; 0 or at least 2.
        keep: what is kept of each step, see `Keep`; None keeps every tensor.
        progress: called after each step.

    Returns:
        A `Trace` of the JAX run, in torch's layout and under torch's names; the spread is in its ``extra``.

    Raises:
        ValueError: an argument that the drive needs is missing, with its name.

    Exactness: `update` is bitwise for funcsgd's rules; `resync` and `free` are rounding.
    """
    if shadows == 1 or shadows < 0:
        raise ValueError(f"shadows must be 0, or at least 2 to measure a spread, but got {shadows}")
    batch_of = batches_of(data, trace)
    side = Replay(
        trace.initial, tx, header=trace.static, drive=drive, loss_fn=loss_fn, weights=weights, buffers=buffers,
        opt_state=opt_state, step=step, state=state, shadows=shadows, keep=keep,
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


def _copies(state: Carry, n: int) -> Carry:
    return jax.tree.map(lambda x: jax.numpy.broadcast_to(x, (n, *np.shape(x))), state)
