"""The steps of one optimizer, as its hooks see them, put into a trace."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.recording.header import Header
from torch_bridge.recording.optimizer_view import OptimizerView
from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array, in_phase
from torch_bridge.translate.tensors import to_numpy

if TYPE_CHECKING:
    import torch

    from torch_bridge.recording.found import Found
    from torch_bridge.recording.scaler import ScalerSteps
    from torch_bridge.recording.step_watch import StepWatch


class OptimizerSteps:
    """Puts each ``optimizer.step()`` into a trace.

    Attributes:
        builder: of the trace.
        before: parameters, buffers and optimizer state as the latest step found them.
        latest: the latest step's quantities.
        pending: quantities of the step under way so far.
        metric: the latest metric of a ReduceLROnPlateau; NaN until one is known, None without one.
        watch: what is seen between two steps; this and the next two are set by whoever attaches the hooks.
        found: what is found out about schedulers, clipping and averages.
        scaler: a GradScaler's steps.
    """

    watch: "StepWatch"
    found: "Found"
    scaler: "ScalerSteps"

    def __init__(
        self,
        view: OptimizerView,
        header: Header,
        builder: TraceBuilder,
        guarded: Callable[[Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        """Begin before the first step.

        Args:
            view: of the optimizer.
            header: of the trace.
            builder: of the trace.
            guarded: makes a hook that never raises.
        """
        self._view, self._header, self._guarded = view, header, guarded
        self.builder = builder
        self.before: dict[str, Array] = {}
        self.latest: dict[str, Array] = {}
        self.pending: dict[str, Array] = {}
        self.metric: float | None = None
        self._twins: dict[int, dict[str, Array]] = {}  # of the step under way
        self.is_open = self._ready = False
        self._changing: set[str] = set()  # buffers

    @property
    def number(self) -> int:
        """The number of the step under way; between two steps, of the next."""
        return self.builder.n_steps + self.is_open

    def close(self) -> None:
        """Put the latest step into the trace. It stays open until then, for an average that is updated after it."""
        if self.is_open:
            self.is_open = False
            n_steps = self.builder.n_steps
            if self.builder.writes_facts(n_steps + 1):
                self.found.settle(n_steps + 1, is_over=False)
            self.builder.append(self.latest, self._twins.pop(n_steps, None))

    def before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """Record what a step begins with; a hook of torch's, which may replace the closure."""
        self._ready = False
        self.close()
        self.found.before_step()
        if added := self._view.grown():
            self._record_added(added)
        averages = {key: value for key, value in self.latest.items() if key.startswith("average/")}
        self.before = self._view.state(self.latest) | averages
        if self.builder.n_steps == 0:
            self.builder.initial = dict(self.before)
        else:
            self._note_if_touched()
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._record_step()
            self._ready = True
            return None

        def watched() -> Any:  # with a closure the gradients are computed inside step()
            loss = closure()
            self._guarded(self.after_closure)(loss)
            return loss

        return (args[0],), {"closure": watched}

    def after_closure(self, loss: Any) -> None:
        """Record the gradients of a step's first evaluation, which a closure computes inside of it."""
        if self._ready:  # LBFGS evaluates further points; the step is known by the one at which it began
            self.watch.drop_evaluation()
            self.found.drop()
            return
        if hasattr(loss, "detach"):
            self.watch.loss = to_numpy(loss)
        self._record_step()
        self._ready = True

    def _record_added(self, names: list[str]) -> None:
        self._header.describe(self._view)
        if self.builder.n_steps == 0:
            return
        values = self._view.state()
        for name in names:
            self.builder.stood_still(f"parameter/{name}", values[f"parameter/{name}"])
        self._header.data.setdefault("added", {})[str(self.builder.n_steps)] = names
        self._header.note(f"{', '.join(names)} were added to the optimizer before step {self.builder.n_steps}")

    def _note_if_touched(self) -> None:
        last = self.latest
        touched = [key for key, now in self.before.items() if key in last and now is not last[key]]
        if not touched:
            return
        step, known = self.builder.n_steps, self._header.data.setdefault("touched", [])
        known.append(step)
        if len(known) == 1:
            self._header.note(
                f"something other than optimizer.step() changed {', '.join(touched)} before step {step}; a replay that "
                "starts from the recorded state lacks that change. Record that part as a run of its own."
            )

    def _record_step(self) -> None:
        self.found.take()
        step = self.builder.n_steps
        shown, twin = self.watch.take(step)
        self.pending = {**shown, **self.pending}  # what was logged goes first
        self._twins = {}  # that of a step which came to nothing is not this one's
        if not any(phase_of(key) in ("data", "batch") for key in self.pending):
            self._header.data.setdefault("no_batches", self.watch.inputs)
        self._begin_buffers(step, in_phase(shown, "buffer"))
        if twin is not None and not self._view.is_skipping():
            self._twins = {step: twin}
            self._header.describe_twin(step, twin)
        if self.metric is not None:
            self.pending["metric"] = np.asarray(self.metric)
        self._header.note_arithmetic(self._view, step)
        self.pending |= self._view.quantities(self.watch.unclipped, self._header.note)

    def _begin_buffers(self, step: int, changing: Mapping[str, Array]) -> None:
        """Record what buffers were before they changed for the first time."""
        buffers = self.watch.buffers
        if step == 0:
            first = {**buffers.values.initial, **buffers.found}
            self.builder.initial = {
                **self.builder.initial,
                **{f"buffer/{name}": each for name, each in first.items()},
            }
        for name in changing:
            if name not in self._changing and step > 0:
                self.builder.stood_still(f"buffer/{name}", buffers.values.initial[name])
            self._changing.add(name)
        self.before |= {f"buffer/{name}": value for name, value in buffers.found.items()}

    def after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Record what a step made; a hook of torch's."""
        self.scaler.stepped = True
        if self._view.is_skipping():
            self.skip()
            return
        if not self._ready:  # a warning was given; the step is incomplete
            self._drop_step()
            self.latest = {}
            return
        stepped = {name for name, parameter in self._view.named() if parameter.grad is not None}
        after = self._view.state()
        # torch does not update the state of a parameter without a gradient, so nothing is recorded of it.
        self.pending.update(
            {key: value for key, value in after.items() if phase_of(key) == "parameter" or name_of(key) in stepped}
        )
        self._header.describe_state(self._view)
        self.latest, self.pending = self.pending, {}
        self.is_open, self._ready = True, False
        self.watch.before_step(self.number)

    def skip(self) -> None:
        """Drop a step that a GradScaler left out."""
        self._header.data.setdefault("skipped", []).append(self.number)
        self._drop_step()

    def _drop_step(self) -> None:
        self.pending, self._ready = {}, False
        self.watch.drop()
        self.found.drop()

    def plateau_metric(self, metric: Any) -> None:
        """Record the metric that a ReduceLROnPlateau was stepped with."""
        if self.metric is None:  # the steps before had none
            self.builder.fill("metric", np.asarray(np.nan))
            self.latest |= {"metric": np.asarray(np.nan)} if self.is_open else {}
        self.metric = float(metric)

    def after_average(self, name: str, tensor: "torch.Tensor") -> None:
        """Record an average that was updated after the latest step."""
        self.latest[f"average/{name}"] = to_numpy(tensor)
