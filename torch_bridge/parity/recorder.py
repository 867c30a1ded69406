"""The hooks on a PyTorch run, and the steps that they have seen."""

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.parity.backward import BackwardPasses, Pass
from torch_bridge.parity.batches import Batches
from torch_bridge.parity.builder import TraceBuilder
from torch_bridge.parity.header import Header, told_recipe
from torch_bridge.parity.hooks import ModuleHook, can_have_hooks, hear_average, hear_metric, parts_of
from torch_bridge.parity.optimizer_view import OptimizerView, dense
from torch_bridge.parity.patch import unheard
from torch_bridge.parity.scaler import ScalerSteps
from torch_bridge.parity.trace import Array, Trace, name_of
from torch_bridge.parity.twins import TwinEvaluation, Twins
from torch_bridge.translate.scheduler_progress import as_list
from torch_bridge.translate.tensors import to_numpy

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler


class Recorder:
    """Hooks on an optimizer, and the steps they have seen; made by `record`.

    Attributes:
        before: parameters and momentum buffers as the latest step found them.
        latest: the latest step's quantities, see `torch_bridge.parity.trace.Step`.
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
        clipped: bool | Mapping[str, Any] = False,
        steps_per_epoch: int = 1,
        digest_every: int | None = None,
        twins: Twins | bool = True,
    ) -> None:
        """Attach the hooks; the arguments are those of `record`."""
        self._view = OptimizerView(optimizer, model)
        clip = clipped if isinstance(clipped, Mapping) else None
        named = list(model.named_parameters())
        self._header = Header(self._view, told_recipe(optimizer, scheduler, average, clip, named, steps_per_epoch))
        self._builder = TraceBuilder(self._header.data, digest_every=digest_every)
        self._header.data = self._builder.static
        self._pending: dict[str, Array] = {}  # what the step under way has shown so far
        self._criterion_loss: Any = None
        self._gradients: dict[str, Array] | None = {} if clipped else None  # as backward() left them
        self._metric: float | None = None
        self.before: dict[str, Array] = {}
        self.latest: dict[str, Array] = {}
        self._open = self._ready = False
        self._undo: list[Callable[[], None]] = []
        self._undo_parts: list[Callable[[], None]] = []
        self._whole = False  # was the model called as a whole in this step?
        self._batches = Batches(loader, self._header.say) if loader is not None else None
        policy = Twins() if twins is True else twins
        self._twins = TwinEvaluation(model, policy, self._named, self._tell_no_twin) if policy else None
        if policy:
            self._header.data["twins"] = {"steps": [], "layers": [], "reasons": {}}
        self._passes = BackwardPasses(
            lambda: [parameter for _, _, parameter in self._view.parameters()],
            begins=self._before_backward,
            passed=self._after_backward,
            cleared=self._cleared,
            fail=self._header.say,
        )
        self._attach(model, optimizer, criterion, scheduler, average)
        if self._twins is not None:
            self._twins.before_step(0)

    def _attach(self, model: Any, optimizer: Any, criterion: Any, scheduler: Any, average: Any) -> None:
        self._undo.append(self._passes.close)
        if self._batches is not None:
            self._undo.append(self._batches.close)
        if can_have_hooks(model):
            forward = ModuleHook(model, self._guarded(self._before_forward))
            self._undo.append(model.register_forward_pre_hook(forward, with_kwargs=True).remove)
        else:
            self._header.say(f"{type(model).__name__} is scripted and has no hooks; its calls are not seen")
        for part in parts_of(model):
            hook = ModuleHook(part, self._guarded(self._before_part))
            self._undo_parts.append(part.register_forward_pre_hook(hook, with_kwargs=True).remove)
        if criterion is not None and can_have_hooks(criterion):
            loss = ModuleHook(criterion, self._guarded(self._after_criterion))
            self._undo.append(criterion.register_forward_hook(loss).remove)
        if average is not None:
            self._undo.append(hear_average(average, model, self._guarded(self._after_average)))
        for each in as_list(scheduler):
            if type(each).__name__ == "ReduceLROnPlateau":
                self._metric = np.nan  # until one is known
                self._undo.append(hear_metric(each, self._guarded(self._hear_metric)))
        self._scaler = ScalerSteps(
            optimizer, unscaled=self._guarded(self._after_unscaling), skipped=self._guarded(self._skip)
        )
        self._undo.append(self._scaler.close)
        self._undo.append(optimizer.register_step_pre_hook(self._guarded(self._before_step)).remove)
        self._undo.append(optimizer.register_step_post_hook(self._guarded(self._after_step)).remove)

    def _guarded(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """A hook that never raises, since the training is the user's, and whose own torch calls nobody notes."""

        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                with unheard():
                    return hook(*args, **kwargs)
            except Exception as error:
                step = self._builder.n_steps + self._open
                self._header.say(f"{hook.__name__.strip('_')} could not be recorded at step {step}: {error}")
                return None

        return guarded

    def log(self, *, loss: Any = None, indices: Any = None) -> None:
        """Tell the recorder what no hook can see; call it before the ``optimizer.step()`` that it belongs to.

        Args:
            loss: the step's loss, a number or a tensor of one element; it goes before the loss that was differentiated.
            indices: which examples the step used, integers of shape ``(batch,)``.
        """
        if loss is not None:
            self._pending["loss"] = to_numpy(loss) if hasattr(loss, "detach") else np.asarray(loss)
        if indices is not None:
            self._pending["data"] = np.asarray(indices, np.int64)

    def trace(self) -> Trace:
        """Return the trace of the steps so far.

        Raises:
            ValueError: no step was made yet.
        """
        self._close_step()
        if self._twins is not None:
            self._twins.abandon()
        if self._builder.n_steps == 0:
            raise ValueError("nothing was recorded: no optimizer.step() ran since record(...)")
        return self._builder.build()

    def save(self, path: str | os.PathLike[str]) -> Trace:
        """Write the trace of the steps so far to ``path``, see `Trace.save`, and return it."""
        trace = self.trace()
        trace.save(path)
        return trace

    def close(self) -> None:
        """Remove every hook; the trace stays."""
        if self._twins is not None:
            self._twins.close()
        while self._undo or self._undo_parts:
            (self._undo or self._undo_parts).pop()()

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
            self._builder.append(self.latest)
            self._open = False

    # ---------------------------------------------------------------- forward and backward

    def _before_forward(self, args: Any, kwargs: Any) -> None:
        import torch

        if torch.is_grad_enabled():
            self._whole = True
            self._called(args, kwargs, part=False)

    def _before_part(self, args: Any, kwargs: Any) -> None:
        import torch

        if torch.is_grad_enabled() and not self._whole:
            self._called(args, kwargs, part=True)

    def _called(self, args: Any, kwargs: Any, part: bool) -> None:
        if self._batches is not None:
            self._batches.called((args, kwargs), part)
        if self._twins is not None:
            self._twins.before_call(self._step, self._epoch_begins(), (args, kwargs), self._latest_batch(args), part)

    def _epoch_begins(self) -> bool:
        if self._batches is None or not self._batches.epoch_began:
            return False
        self._batches.epoch_began = False
        return True

    def _latest_batch(self, args: Any) -> Any:
        return args if self._batches is None else self._batches.latest

    def _before_backward(self) -> None:
        if self._twins is not None:
            self._twins.before_backward([parameter for _, parameter in self._named()])

    def _after_backward(self, done: Pass) -> None:
        if self._batches is not None:
            self._batches.passed()
        if self._twins is not None:
            self._twins.after_backward(done)
        if self._gradients is not None:
            touched = {id(parameter) for parameter in done.touched}
            self._keep_gradients(lambda name, parameter: id(parameter) in touched)

    def _keep_gradients(self, wanted: Callable[[str, Any], bool]) -> None:
        assert self._gradients is not None  # nobody asks without clipped=
        for name, parameter in self._named():
            if wanted(name, parameter) and parameter.grad is not None:
                self._gradients[name] = to_numpy(dense(parameter.grad))

    def _cleared(self) -> None:
        if self._batches is not None:
            self._batches.cleared()
        if self._twins is not None:
            self._twins.cleared()
        if self._gradients is not None:
            self._gradients.clear()

    def _after_criterion(self, inputs: Any, output: "torch.Tensor") -> None:
        if output.requires_grad:
            self._criterion_loss = to_numpy(output)

    # ---------------------------------------------------------------- step

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        self._ready = False
        self._close_step()
        if added := self._view.grown():
            self._hear_of_group(added)
        averages = {key: value for key, value in self.latest.items() if key.startswith("average/")}
        self.before = self._view.state() | averages
        if self._builder.n_steps == 0:
            self._builder.initial = dict(self.before)
        else:
            self._say_if_touched()
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._see_step()
            self._ready = True
            return None

        def watched() -> Any:  # with a closure the gradients come to be inside step()
            loss = closure()
            self._guarded(self._see_closure)(loss)
            return loss

        return (args[0],), {"closure": watched}

    def _see_closure(self, loss: Any) -> None:
        if hasattr(loss, "detach"):
            self._criterion_loss = to_numpy(loss)
        self._see_step()
        self._ready = True

    def _hear_of_group(self, names: list[str]) -> None:
        self._header.describe(self._view)
        if self._builder.n_steps == 0:
            return
        values = self._view.state()
        for name in names:
            self._builder.stood_still(f"parameter/{name}", values[f"parameter/{name}"])
        self._header.data.setdefault("added", {})[str(self._builder.n_steps)] = names
        self._header.say(f"{', '.join(names)} were added to the optimizer before step {self._builder.n_steps}")

    def _say_if_touched(self) -> None:
        last = self.latest
        touched = [key for key, now in self.before.items() if key in last and now.tobytes() != last[key].tobytes()]
        if not touched:
            return
        step, known = self._builder.n_steps, self._header.data.setdefault("touched", [])
        known.append(step)
        if len(known) == 1:
            self._header.say(
                f"something other than optimizer.step() changed {', '.join(touched)} before step {step}; a replay that "
                "starts from the recorded state cannot know that. Record that part as a run of its own."
            )

    def _see_step(self) -> None:
        step, n_passes = self._builder.n_steps, self._passes.count
        loss = self._passes.take()
        if "loss" not in self._pending and (loss is not None or self._criterion_loss is not None):
            self._pending["loss"] = self._criterion_loss if loss is None else loss
        self._criterion_loss = None
        self._see_batches(step, n_passes)
        twin = None if self._twins is None else self._twins.finish(step, n_passes)
        if twin is not None and not self._view.is_skipping():
            self._keep_twin(step, twin)
        if self._metric is not None:
            self._pending["metric"] = np.asarray(self._metric)
        self._pending |= self._view.quantities(self._gradients, self._header.say)

    def _keep_twin(self, step: int, twin: dict[str, Array]) -> None:
        self._builder.twins[step] = twin
        told = self._header.data["twins"]
        told["steps"].append(step)
        layers = [name_of(key) for key in twin if key.startswith("forward/")]
        told["layers"] += [layer for layer in layers if layer not in told["layers"]]

    def _see_batches(self, step: int, n_passes: int) -> None:
        if self._batches is None or "data" in self._pending:
            return
        indices = self._batches.take(n_passes)
        if indices:
            self._pending["data"] = np.concatenate(indices)
        if len(indices) > 1:
            self._header.data.setdefault("micro_batches", {})[str(step)] = [len(each) for each in indices]

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._scaler.stepped = True
        if not self._ready or self._view.is_skipping():
            self._drop_step()
            return
        stepped = {name for name, parameter in self._named() if parameter.grad is not None}
        after = self._view.state()
        # torch leaves the buffer of a parameter without a gradient alone; it did nothing, so the step shows nothing.
        self._pending.update(
            {key: value for key, value in after.items() if key.startswith("parameter/") or key[9:] in stepped}
        )
        self.latest, self._pending = self._pending, {}
        self._open, self._ready = True, False
        while self._whole and self._undo_parts:
            self._undo_parts.pop()()
        self._whole = False
        if self._twins is not None:
            self._twins.before_step(self._step)

    def _drop_step(self) -> None:
        """Forget the step under way: a GradScaler left it out, or it could not be seen."""
        self._pending, self._ready, self._criterion_loss = {}, False, None
        if self._view.is_skipping():
            self._header.data.setdefault("skipped", []).append(self._step)

    # ---------------------------------------------------------------- others

    def _after_unscaling(self) -> None:
        if self._gradients:
            known = set(self._gradients)
            self._keep_gradients(lambda name, parameter: name in known)

    def _skip(self) -> None:
        """Forget a step that a GradScaler left out without calling the optimizer."""
        self._header.data.setdefault("skipped", []).append(self._step)
        self._passes.drop()
        self._pending, self._criterion_loss = {}, None
        if self._batches is not None:
            self._batches.take(self._passes.count)
        if self._twins is not None:
            self._twins.abandon()

    def _tell_no_twin(self, step: int, reason: str) -> None:
        reasons = self._header.data["twins"]["reasons"]
        if reason not in reasons.values():
            self._header.say(f"step {step} is not evaluated in float64: {reason}")
        reasons[str(step)] = reason

    def _hear_metric(self, metric: Any) -> None:
        self._metric = float(metric)

    def _after_average(self, name: str, tensor: "torch.Tensor") -> None:
        self.latest[f"average/{name}"] = to_numpy(tensor)
