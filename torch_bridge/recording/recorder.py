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
from torch_bridge.recording.optimizer_steps import OptimizerSteps
from torch_bridge.recording.optimizer_view import OptimizerView
from torch_bridge.recording.patch import without_recording
from torch_bridge.recording.scaler import ScalerSteps
from torch_bridge.recording.scheduler_steps import SchedulerSteps
from torch_bridge.recording.step_watch import StepWatch
from torch_bridge.recording.twins import Twins
from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.file import TraceFile
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.trace import Step, Trace
from torch_bridge.translate.parameters import bare_parameters, tied_parameters
from torch_bridge.translate.read import read_recipe
from torch_bridge.translate.scheduler_progress import as_list
from torch_bridge.translate.tensors import to_numpy
from torch_bridge.weights.torch_side import kinds_of

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler


class Recorder:
    """Hooks on an optimizer, and the steps they recorded; made by `record`."""

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
        builder = TraceBuilder(self._header.data, keep=keep, file=file or self._file, name=name)
        self._header.data = builder.static
        self._steps = OptimizerSteps(self._view, self._header, builder, self._guarded)
        self._is_over = False
        self._failures: set[tuple[str, str]] = set()
        self._undo: list[Callable[[], None]] = []
        self._unasked = unasked
        self._watch = StepWatch(
            model,
            self._view,
            self._header,
            self._guarded,
            lambda: self._steps.number,
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
            averaged=self._steps.after_average if average is None else None,
        )
        self._steps.watch, self._steps.found = self._watch, self._found
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
        return SchedulerSteps(optimizer, lambda: self._steps.number, self._guarded, self._steps.plateau_metric)

    def _clipping(self) -> ClipCalls:
        return ClipCalls(self._view.named, self._guarded, self._watch.before_clipping)

    def _attach(self, model: Any, optimizer: Any, scheduler: Any, average: Any) -> None:
        self._undo.append(self._watch.close)
        if average is not None:
            self._undo.append(on_average(average, model, self._guarded(self._steps.after_average)))
        for each in as_list(scheduler):
            if type(each).__name__ == "ReduceLROnPlateau":
                self._steps.metric = np.nan
                self._undo.append(on_metric(each, self._guarded(self._steps.plateau_metric)))
        self._steps.scaler = ScalerSteps(
            optimizer, unscaled=self._guarded(self._watch.after_unscaling), skipped=self._guarded(self._steps.skip)
        )
        self._undo.append(self._steps.scaler.close)
        self._undo.append(optimizer.register_step_pre_hook(self._guarded(self._steps.before_step)).remove)
        self._undo.append(optimizer.register_step_post_hook(self._guarded(self._steps.after_step)).remove)

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
                    self._header.note(f"{failure} at step {self._steps.number}: {error}")
                return None

        return guarded

    def log(self, *, loss: Any = None, indices: Any = None) -> None:
        """Record what no hook can; call it before the ``optimizer.step()`` that it belongs to.

        Args:
            loss: the step's loss, a number or a tensor of one element; it goes before the loss that was differentiated.
            indices: which examples the step used, integers of shape ``(batch,)``.
        """
        if loss is not None:
            self._steps.pending["loss"] = to_numpy(loss) if hasattr(loss, "detach") else np.asarray(loss)
        if indices is not None:
            self._steps.pending["data"] = np.asarray(indices, np.int64)

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
    def before(self) -> Step:
        """Parameters, buffers and optimizer state as the latest step found them."""
        return self._steps.before

    @property
    def latest(self) -> Step:
        """The latest step's quantities."""
        return self._steps.latest

    @property
    def n_steps(self) -> int:
        """How many steps were recorded so far."""
        return self._steps.number

    def trace(self) -> Trace:
        """Return the trace of the steps so far.

        Raises:
            ValueError: no step was made yet.
        """
        self._settle()
        if self._steps.builder.n_steps == 0:
            raise ValueError("nothing was recorded: no optimizer.step() ran since record(...)")
        return self._steps.builder.build()

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
        self._steps.builder.close()
        if self._file is not None:
            self._file.close()

    def _settle(self) -> None:
        self._steps.close()
        self._watch.stop()
        if self._steps.builder.n_steps and not self._is_over:
            self._found.settle(self._steps.builder.n_steps, search=self._unasked is not None)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        self.close()
