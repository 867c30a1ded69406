"""The hooks on a PyTorch run, and the steps that they recorded."""

import atexit
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.recording.batches import Batches
from torch_bridge.recording.buffers import momenta_of
from torch_bridge.recording.clip_calls import ClipCalls
from torch_bridge.recording.found import Found, Unasked
from torch_bridge.recording.header import Header
from torch_bridge.recording.hooks import on_average, on_metric
from torch_bridge.recording.loaders import Loaders
from torch_bridge.recording.optimizer_view import OptimizerView
from torch_bridge.recording.patch import without_recording
from torch_bridge.recording.scaler import ScalerSteps
from torch_bridge.recording.scheduler_steps import SchedulerSteps
from torch_bridge.recording.step_watch import StepWatch
from torch_bridge.recording.twins import Twins
from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.file import TraceFile
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array, Trace, in_phase
from torch_bridge.translate.parameters import bare_parameters, tied_parameters
from torch_bridge.translate.read import read_recipe
from torch_bridge.translate.scheduler_progress import as_list
from torch_bridge.translate.tensors import to_numpy
from torch_bridge.weights.torch_side import kinds_of

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler


class Recorder:
    """Hooks on an optimizer, and the steps they recorded; made by `record`.

    Attributes:
        before: parameters, buffers and optimizer state as the latest step found them.
        latest: the latest step's quantities, see `torch_bridge.trace.trace.Step`.
    """

    def __init__(
        self,
        model: "torch.nn.Module",
        optimizer: "torch.optim.Optimizer",
        *,
        criterion: "torch.nn.Module | None" = None,
        loader: "torch.utils.data.DataLoader[Any] | None" = None,
        scheduler: "LRScheduler | Sequence[LRScheduler] | None" = None,
        average: "torch.optim.swa_utils.AveragedModel | None" = None,
        clip: bool | Mapping[str, Any] = False,
        steps_per_epoch: int = 1,
        keep: Keep | None = None,
        path: str | os.PathLike[str] | None = None,
        file: TraceFile | None = None,
        name: str = "",
        twins: Twins | bool = True,
        unasked: Unasked | None = None,
    ) -> None:
        """Attach the hooks.

        The arguments are those of `record`, and what a recorder of a whole script goes by: ``file``, which is written
        to in place of one of its own and not closed here, and the ``name`` of the run in it.
        """
        self._file = None if file is not None else TraceFile(path)
        self._view = OptimizerView(optimizer, model)
        recipe = read_recipe(
            optimizer,
            scheduler,
            average,
            clip=clip if isinstance(clip, Mapping) else None,
            named_parameters=bare_parameters(model),
            steps_per_epoch=steps_per_epoch,
            tied=tied_parameters(model),
        )
        self._header = Header(self._view, recipe, None if unasked is None else unasked.notify)
        self._header.data["modules"] = kinds_of(model)
        self._header.data |= {"momenta": momenta} if (momenta := momenta_of(model)) else {}
        self._builder = TraceBuilder(self._header.data, keep=keep, file=file or self._file, name=name)
        self._header.data = self._builder.static
        self._pending: dict[str, Array] = {}  # quantities of the step under way so far
        self._metric: float | None = None
        self.before: dict[str, Array] = {}
        self.latest: dict[str, Array] = {}
        self._twins: dict[int, dict[str, Array]] = {}  # of the step under way
        self._open = self._ready = self._is_over = False
        self._failures: set[tuple[str, str]] = set()
        self._changing: set[str] = set()  # buffers
        self._undo: list[Callable[[], None]] = []
        self._unasked = unasked
        self._watch = StepWatch(
            model,
            self._view,
            self._header,
            self._guarded,
            lambda: self._step,
            batches=self._batches(loader),
            criterion=criterion,
            clipped=bool(clip),
            twins=Twins() if twins is True else twins or None,
        )
        self._attach(model, optimizer, scheduler, average)
        self._found = Found(
            model,
            self._header,
            self._guarded,
            schedulers=self._schedulers(optimizer) if scheduler is None else None,
            clipping=None if isinstance(clip, Mapping) else self._clipping(),
            averaged=self._after_average if average is None else None,
        )
        self._undo.append(self._found.close)
        if path is not None:  # or a script that ends without a word would leave the file without its end
            atexit.register(self.close)
            self._undo.append(lambda: atexit.unregister(self.close))
        self._watch.before_step(0)

    def _batches(self, loader: Any) -> Batches | Loaders | None:
        if self._unasked is not None:
            self._unasked.loaders.notify = self._header.note
            return self._unasked.loaders
        if loader is None:
            return None
        remedy = "use recorder.log(indices=...) in place of loader="
        batches = Batches(loader, lambda reason: self._header.note(f"{reason}: {remedy}"))
        self._undo.append(batches.close)
        return batches

    def _schedulers(self, optimizer: Any) -> SchedulerSteps:
        return SchedulerSteps(optimizer, lambda: self._step, self._guarded, self._plateau_metric)

    def _clipping(self) -> ClipCalls:
        return ClipCalls(self._named, self._guarded, self._watch.before_clipping)

    def _attach(self, model: Any, optimizer: Any, scheduler: Any, average: Any) -> None:
        self._undo.append(self._watch.close)
        if average is not None:
            self._undo.append(on_average(average, model, self._guarded(self._after_average)))
        for each in as_list(scheduler):
            if type(each).__name__ == "ReduceLROnPlateau":
                self._metric = np.nan  # until one is known
                self._undo.append(on_metric(each, self._guarded(self._plateau_metric)))
        self._scaler = ScalerSteps(
            optimizer, unscaled=self._guarded(self._watch.after_unscaling), skipped=self._guarded(self._skip)
        )
        self._undo.append(self._scaler.close)
        self._undo.append(optimizer.register_step_pre_hook(self._guarded(self._before_step)).remove)
        self._undo.append(optimizer.register_step_post_hook(self._guarded(self._after_step)).remove)

    def _guarded(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """A hook that never raises, since the training is the user's, and whose own torch calls are not noted."""

        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                with without_recording():
                    return hook(*args, **kwargs)
            except Exception as error:
                failure = f"{hook.__name__.strip('_')} could not be recorded"
                if (failure, str(error)) not in self._failures:
                    self._failures.add((failure, str(error)))
                    self._header.note(f"{failure} at step {self._step}: {error}")
                return None

        return guarded

    def log(self, *, loss: Any = None, indices: Any = None) -> None:
        """Record what no hook can; call it before the ``optimizer.step()`` that it belongs to.

        Args:
            loss: the step's loss, a number or a tensor of one element; it goes before the loss that was differentiated.
            indices: which examples the step used, integers of shape ``(batch,)``.
        """
        if loss is not None:
            self._pending["loss"] = to_numpy(loss) if hasattr(loss, "detach") else np.asarray(loss)
        if indices is not None:
            self._pending["data"] = np.asarray(indices, np.int64)

    def describe(self, **facts: Any) -> None:
        """Add facts to the trace's header, each plain data fit for JSON."""
        self._header.data.update(facts)

    def model_is_called(self, args: Any, kwargs: Any, part: bool) -> None:
        """Record a call of the model, or of a part of it, during which the recorder was made."""
        self._guarded(self._watch.model_is_called)(args, kwargs, part)

    @property
    def optimizer_name(self) -> str:
        """The optimizer's class."""
        return str(self._header.data["recipe"]["optimizer"]).rpartition(".")[2]

    @property
    def n_steps(self) -> int:
        """How many steps were recorded so far."""
        return self._step

    def trace(self) -> Trace:
        """Return the trace of the steps so far.

        Raises:
            ValueError: no step was made yet.
        """
        self._settle()
        if self._builder.n_steps == 0:
            raise ValueError("nothing was recorded: no optimizer.step() ran since record(...)")
        return self._builder.build()

    def save(self, path: str | os.PathLike[str]) -> Trace:
        """Write the trace of the steps so far to ``path``, see `Trace.save`, and return it.

        Raises:
            ValueError: no step was made yet, or the recording is written there as it goes.
        """
        written = None if self._file is None else self._file.path
        if written is not None and not self._is_over and os.path.abspath(written) == os.path.abspath(path):
            raise ValueError(f"the recording is written to {written} as it goes: recorder.close() ends it")
        trace = self.trace()
        trace.save(path)
        return trace

    def close(self) -> None:
        """Remove every hook, and end the file that the run was written to; the trace stays."""
        while self._undo:
            self._undo.pop()()
        self._guarded(self._finish)()

    def _finish(self) -> None:
        if self._is_over:
            return
        self._settle()
        self._is_over = True
        self._builder.close()
        if self._file is not None:
            self._file.close()

    def _settle(self) -> None:
        self._close_step()
        self._watch.stop()
        if self._builder.n_steps and not self._is_over:
            self._found.settle(self._builder.n_steps, search=self._unasked is not None)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        self.close()

    def _named(self) -> "list[tuple[str, torch.nn.Parameter]]":
        return [(name, parameter) for _, name, parameter in self._view.parameters()]

    @property
    def _step(self) -> int:
        """The number of the step under way; between two steps, of the next."""
        return self._builder.n_steps + self._open

    def _close_step(self) -> None:
        """Put the latest step into the trace. It stays open until then, for an average that is updated after it."""
        if self._open:
            self._open = False
            n_steps = self._builder.n_steps
            if self._builder.writes_facts(n_steps + 1):
                self._found.settle(n_steps + 1, is_over=False)
            self._builder.append(self.latest, self._twins.pop(n_steps, None))

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        self._ready = False
        self._close_step()
        self._found.before_step()
        if added := self._view.grown():
            self._record_added(added)
        averages = {key: value for key, value in self.latest.items() if key.startswith("average/")}
        self.before = self._view.state(self.latest) | averages
        if self._builder.n_steps == 0:
            self._builder.initial = dict(self.before)
        else:
            self._note_if_touched()
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._record_step()
            self._ready = True
            return None

        def watched() -> Any:  # with a closure the gradients are computed inside step()
            loss = closure()
            self._guarded(self._after_closure)(loss)
            return loss

        return (args[0],), {"closure": watched}

    def _after_closure(self, loss: Any) -> None:
        if self._ready:  # LBFGS evaluates further points; the step is known by the one at which it began
            self._watch.drop_evaluation()
            self._found.drop()
            return
        if hasattr(loss, "detach"):
            self._watch.loss = to_numpy(loss)
        self._record_step()
        self._ready = True

    def _record_added(self, names: list[str]) -> None:
        self._header.describe(self._view)
        if self._builder.n_steps == 0:
            return
        values = self._view.state()
        for name in names:
            self._builder.stood_still(f"parameter/{name}", values[f"parameter/{name}"])
        self._header.data.setdefault("added", {})[str(self._builder.n_steps)] = names
        self._header.note(f"{', '.join(names)} were added to the optimizer before step {self._builder.n_steps}")

    def _note_if_touched(self) -> None:
        last = self.latest
        touched = [key for key, now in self.before.items() if key in last and now is not last[key]]
        if not touched:
            return
        step, known = self._builder.n_steps, self._header.data.setdefault("touched", [])
        known.append(step)
        if len(known) == 1:
            self._header.note(
                f"something other than optimizer.step() changed {', '.join(touched)} before step {step}; a replay that "
                "starts from the recorded state lacks that change. Record that part as a run of its own."
            )

    def _record_step(self) -> None:
        self._found.take()
        step = self._builder.n_steps
        shown, twin = self._watch.take(step)
        self._pending = {**shown, **self._pending}  # what was logged goes first
        self._twins = {}  # that of a step which came to nothing is not this one's
        if not any(phase_of(key) in ("data", "batch") for key in self._pending):
            self._header.data.setdefault("no_batches", self._watch.inputs)
        self._begin_buffers(step, in_phase(shown, "buffer"))
        if twin is not None and not self._view.is_skipping():
            self._twins = {step: twin}
            self._header.describe_twin(step, twin)
        if self._metric is not None:
            self._pending["metric"] = np.asarray(self._metric)
        self._header.note_arithmetic(self._view, step)
        self._pending |= self._view.quantities(self._watch.unclipped, self._header.note)

    def _begin_buffers(self, step: int, changing: Mapping[str, Array]) -> None:
        """Record what buffers were before they changed for the first time."""
        buffers = self._watch.buffers
        if step == 0:
            first = {**buffers.values.initial, **buffers.found}
            self._builder.initial = {
                **self._builder.initial,
                **{f"buffer/{name}": each for name, each in first.items()},
            }
        for name in changing:
            if name not in self._changing and step > 0:
                self._builder.stood_still(f"buffer/{name}", buffers.values.initial[name])
            self._changing.add(name)
        self.before |= {f"buffer/{name}": value for name, value in buffers.found.items()}

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._scaler.stepped = True
        if self._view.is_skipping():
            self._skip()
            return
        if not self._ready:  # a warning was given; the step is incomplete
            self._drop_step()
            self.latest = {}
            return
        stepped = {name for name, parameter in self._named() if parameter.grad is not None}
        after = self._view.state()
        # torch does not update the state of a parameter without a gradient, so nothing is recorded of it.
        self._pending.update(
            {key: value for key, value in after.items() if phase_of(key) == "parameter" or name_of(key) in stepped}
        )
        self._header.describe_state(self._view)
        self.latest, self._pending = self._pending, {}
        self._open, self._ready = True, False
        self._watch.before_step(self._step)

    def _skip(self) -> None:
        """Drop a step that a GradScaler left out."""
        self._header.data.setdefault("skipped", []).append(self._step)
        self._drop_step()

    def _drop_step(self) -> None:
        self._pending, self._ready = {}, False
        self._watch.drop()
        self._found.drop()

    def _plateau_metric(self, metric: Any) -> None:
        if self._metric is None:  # the steps before had none
            self._builder.fill("metric", np.asarray(np.nan))
            self.latest |= {"metric": np.asarray(np.nan)} if self._open else {}
        self._metric = float(metric)

    def _after_average(self, name: str, tensor: "torch.Tensor") -> None:
        self.latest[f"average/{name}"] = to_numpy(tensor)
