"""The quantities of a step before ``optimizer.step()``: examples, loss, gradients before clipping, a float64 twin."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.recording.backward import BackwardPasses, Pass
from torch_bridge.recording.batch import Batch, tensors_of
from torch_bridge.recording.batches import Batches
from torch_bridge.recording.buffers import StepBuffers, is_stale
from torch_bridge.recording.header import Header
from torch_bridge.recording.hooks import ModuleHook, can_have_hooks, parts_of
from torch_bridge.recording.loaders import Loaders
from torch_bridge.recording.optimizer_view import OptimizerView, dense
from torch_bridge.recording.twins import TwinEvaluation, Twins
from torch_bridge.trace.batch import joined
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array, in_phase
from torch_bridge.translate.tensors import to_numpy

if TYPE_CHECKING:
    import torch


class StepWatch:
    """Hooks on a model's forward and backward passes.

    Attributes:
        buffers: of the model, as the steps find and leave them.
        loss: of the criterion's latest call, for a loss that no backward pass shows.
        unclipped: the gradients as ``backward()`` left them, by name; None where the script does not change them.
    """

    def __init__(
        self,
        model: "torch.nn.Module",
        view: OptimizerView,
        header: Header,
        guarded: Callable[[Callable[..., Any]], Callable[..., Any]],
        step: Callable[[], int],
        *,
        batches: "Batches | Loaders | None",
        criterion: "torch.nn.Module | None",
        clipped: bool,
        twins: Twins | None,
    ) -> None:
        """Attach the hooks.

        Args:
            model: see `record`.
            view: of the optimizer.
            header: receives notes on what cannot be recorded.
            guarded: makes a function into a hook that never raises.
            step: returns the number of the step under way.
            batches: of the loader.
            criterion: see `record`.
            clipped: whether to keep the gradients of each backward pass.
            twins: which steps are evaluated in float64, or None.
        """
        self._model, self._view, self._header, self._step = model, view, header, step
        self.loss: Array | None = None
        self.unclipped: dict[str, Array] | None = {} if clipped else None
        self._keeps = clipped
        self._given = ""
        self._whole = False  # was the model called as a whole in this step?
        self._undo: list[Callable[[], None]] = []
        self._undo_parts: list[Callable[[], None]] = []
        self._batches = batches
        self.buffers = StepBuffers(model)
        self._twins = (
            TwinEvaluation(model, twins, self._view.named, self.buffers.values.tensors, header.note_no_twin)
            if twins is not None
            else None
        )
        if self._twins is not None:
            layers = {"kinds": self._twins.layers.kinds, "sources": self._twins.layers.sources}
            header.data["twins"] = {"steps": [], "layers": [], "reasons": {}, **layers}
        self._passes = BackwardPasses(
            lambda: [parameter for _, parameter in self._view.named()],
            begins=self._before_backward,
            passed=self._after_backward,
            cleared=self._cleared,
            fail=header.note,
        )
        self._attach(model, criterion, guarded)

    def _attach(self, model: Any, criterion: Any, guarded: Callable[..., Any]) -> None:
        self._undo += [each.close for each in (self._passes, self._twins) if each is not None]
        if can_have_hooks(model):
            forward = ModuleHook(model, guarded(self._before_forward))
            self._undo.append(model.register_forward_pre_hook(forward, with_kwargs=True).remove)
            if self.buffers.values.initial:
                returned = ModuleHook(model, guarded(self._after_forward))
                self._undo.append(model.register_forward_hook(returned).remove)
        else:
            self._header.note(f"{type(model).__name__} is scripted and has no hooks; its calls are not recorded")
        for part in parts_of(model):
            hook = ModuleHook(part, guarded(self._before_part))
            self._undo_parts.append(part.register_forward_pre_hook(hook, with_kwargs=True).remove)
        if criterion is not None and can_have_hooks(criterion):
            loss = ModuleHook(criterion, guarded(self._after_criterion))
            self._undo.append(criterion.register_forward_hook(loss).remove)

    def close(self) -> None:
        """Remove the hooks."""
        while self._undo or self._undo_parts:
            (self._undo or self._undo_parts).pop()()

    def stop(self) -> None:
        """Leave the float64 evaluation of the step under way."""
        if self._twins is not None:
            self._twins.abandon()

    def before_step(self, step: int) -> None:
        """Begin a step, the first of the run or after another."""
        while self._whole and self._undo_parts:
            self._undo_parts.pop()()
        self._whole = False
        if self._twins is not None:
            self._twins.before_step(step)

    def take(self, step: int) -> tuple[dict[str, Array], dict[str, Array] | None]:
        """Return the step's loss and data, as far as they are known, and its float64 twin; and begin the next.

        Args:
            step: its number.
        """
        if self.unclipped is None and self._passes.is_changed():
            self._header.note(
                "something other than torch's functions that clip changed gradients between backward() and "
                "optimizer.step(): the trace has them as the optimizer uses them; record(clip=True) keeps both"
            )
        shown: dict[str, Array] = {}
        n_passes, loss = self._passes.count, self._passes.take()
        if (loss := self.loss if loss is None else loss) is not None:
            shown["loss"] = loss
        self.loss = None
        if self._batches is not None:
            shown |= self._examples(step, self._batches.take(n_passes))
        shown |= self.buffers.take()
        if self.buffers.is_mixed:
            self._header.data.setdefault("mixed_buffers", []).append(step)
        return shown, None if self._twins is None else self._checked(self._twins.finish(step, n_passes), shown)

    def _examples(self, step: int, used: Sequence[Batch]) -> dict[str, Array]:
        """The indices of the batches, or the batches themselves."""
        if len(used) > 1:
            self._header.data.setdefault("micro_batches", {})[str(step)] = [batch.size for batch in used]
        indices = [batch.indices for batch in used if batch.indices is not None]
        if used and len(indices) == len(used):
            return {"data": np.concatenate(indices)}
        leaves = joined([batch.leaves for batch in used]) if used and not indices else {}
        if leaves is None or not self._header.describe_batch(step, used[0].structure if used else None, leaves):
            self._header.note(
                f"the batches of step {step} have other shapes than can be kept together: they are left out"
            )
            return {}
        return {f"batch/{name}": leaf for name, leaf in leaves.items()}

    @property
    def inputs(self) -> str:
        """A sentence on batches that are not known: what the model was called with first."""
        return (
            f"no DataLoader was seen to give the batches; the model was called with {self._given or 'no tensor'}, and "
            "targets, or what else the loss was given, are not known"
        )

    def _checked(self, twin: dict[str, Array] | None, shown: dict[str, Array]) -> dict[str, Array] | None:
        """A float64 evaluation without the buffers that it did not follow."""
        left, found = in_phase(shown, "buffer"), self.buffers.found
        return twin and {
            key: value
            for key, value in twin.items()
            if phase_of(key) != "buffer"
            or (self.buffers.is_clean and not is_stale(value, found[name_of(key)], left[name_of(key)]))
        }

    def drop(self) -> None:
        """Forget what the step has shown."""
        if self._batches is not None:
            self._batches.take(self._passes.count)
        self._passes.drop()
        self.buffers.drop()
        self.loss = None
        if self.unclipped is not None:
            self.unclipped.clear()
        self.stop()

    def drop_evaluation(self) -> None:
        """Forget what was shown since `take`, within the same step."""
        self._passes.drop()
        self.buffers.drop()
        self.loss = None
        self._cleared()
        self.stop()

    def _before_forward(self, args: Any, kwargs: Any) -> None:
        import torch

        if torch.is_grad_enabled():
            self._whole = True
            self._called(args, kwargs, part=False)
        elif self._model.training:
            self.buffers.before_call(differentiable=False)

    def _after_forward(self, args: Any, output: Any) -> None:
        import torch

        if torch.is_grad_enabled():
            self.buffers.after_call(output)

    def _before_part(self, args: Any, kwargs: Any) -> None:
        import torch

        if torch.is_grad_enabled() and not self._whole:
            self._called(args, kwargs, part=True)

    def _called(self, args: Any, kwargs: Any, part: bool) -> None:
        if not self._given:
            names = ((str(x.dtype).removeprefix("torch."), tuple(x.shape)) for x in tensors_of((args, kwargs)))
            self._given = ", ".join(f"{dtype} {shape}" for dtype, shape in names)
        self.buffers.before_call(differentiable=True, part=part)
        if self._batches is not None:
            self._batches.called((args, kwargs), part)
        if self._twins is not None:
            self._twins.before_call(self._step(), self._epoch_begins(), (args, kwargs), self._latest_batch(args), part)

    def _epoch_begins(self) -> bool:
        if self._batches is None or not self._batches.epoch_began:
            return False
        self._batches.epoch_began = False
        return True

    def _latest_batch(self, args: Any) -> Any:
        return args if self._batches is None else self._batches.latest

    def _before_backward(self) -> None:
        if self._twins is not None:
            self._twins.before_backward([parameter for _, parameter in self._view.named()])

    def _after_backward(self, done: Pass) -> None:
        if self._batches is not None:
            self._batches.passed()
        self.buffers.passed(done.roots)
        if self._twins is not None:
            self._twins.after_backward(done)
        if self._keeps:
            touched = {id(parameter) for parameter in done.touched}
            self._keep_gradients(lambda name, parameter: id(parameter) in touched)

    def after_unscaling(self) -> None:
        """After a GradScaler unscaled the gradients in place."""
        if self.unclipped:
            known = set(self.unclipped)
            self._keep_gradients(lambda name, parameter: name in known)

    def before_clipping(self, clipped: Collection[int]) -> None:
        """Hear that gradients are about to be clipped.

        Args:
            clipped: ids of their parameters.
        """
        known = self.unclipped = {} if self.unclipped is None else self.unclipped
        if not self._keeps:
            self._keep_gradients(lambda name, parameter: id(parameter) in clipped and name not in known)

    def model_is_called(self, args: Any, kwargs: Any, part: bool) -> None:
        """Hear of a call of the model, or of a part of it, that was under way before the hooks were there."""
        (self._before_part if part else self._before_forward)(args, kwargs)

    def _keep_gradients(self, wanted: Callable[[str, Any], bool]) -> None:
        assert self.unclipped is not None  # called with clipped= only
        for name, parameter in self._view.named():
            if wanted(name, parameter) and parameter.grad is not None:
                self.unclipped[name] = to_numpy(dense(parameter.grad))

    def _cleared(self) -> None:
        if self._batches is not None:
            self._batches.cleared()
        self.buffers.cleared()
        if self._twins is not None:
            self._twins.cleared()
        if self.unclipped is not None:
            self.unclipped.clear()

    def _after_criterion(self, inputs: Any, output: "torch.Tensor") -> None:
        if output.requires_grad:
            self.loss = to_numpy(output)
