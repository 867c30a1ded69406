"""At chosen steps, the same loss and gradients in float64: the policy, and what carries it out."""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.recording.backward import Pass
from torch_bridge.recording.batch import tensors_of
from torch_bridge.recording.layer_watch import LayerWatch
from torch_bridge.recording.loss_function import LossFunction
from torch_bridge.recording.patch import BACKWARD, CUSTOM_FUNCTION
from torch_bridge.trace.trace import Array

if TYPE_CHECKING:
    import torch

    from torch_bridge.recording.tape import Tape

_SHAPES = 8  # where every batch has a shape of its own, the first few will do
_PARALLEL = ("DistributedDataParallel", "FullyShardedDataParallel", "DataParallel")


@dataclass(frozen=True)
class Twins:
    """Which steps of a recorded run are evaluated in float64 as well, see `Trace.twins`.

    Attributes:
        first: the first steps of the run, how many.
        epochs: the first step of each iteration of the loader.
        shapes: the first step with each shape of the model's inputs, for the first eight shapes.
        every: every k-th step: k-1, 2k-1, ...; None for none.
        layers: keep what each layer is given and returns, and the gradient with respect to it, see `LayerWatch`.
        loss: ``loss(model, batch)`` -> scalar tensor, for a loss that does not pass through torch's Python interface
            (compiled code): called with a copy of the model in float64 and the step's batch, floating tensors in
            float64; the batch is the loader's, or without a loader the tuple of the model's arguments.

    Raises:
        ValueError: ``first`` is negative, or ``every`` is not positive.
    """

    first: int = 3
    epochs: bool = True
    shapes: bool = True
    every: int | None = None
    layers: bool = True
    loss: "Callable[[Any, Any], torch.Tensor] | None" = None

    def __post_init__(self) -> None:
        if self.first < 0:
            raise ValueError(f"first must be a number of steps, 0 or more, but got {self.first}")
        if self.every is not None and self.every < 1:
            raise ValueError(f"every must be a positive number of steps or None, but got {self.every}")

    def choose(self, step: int, epoch_begins: bool, new_shape: bool) -> bool:
        """Return True if a step is to be evaluated in float64."""
        periodic = self.every is not None and (step + 1) % self.every == 0
        return step < self.first or periodic or (self.epochs and epoch_begins) or (self.shapes and new_shape)


class TwinEvaluation:
    """Evaluates the chosen steps of a run in float64, without touching the run.

    From the model's first call in a step up to ``optimizer.step()`` a `Tape` notes torch's calls; each backward pass is
    made again on their float64 counterparts. What fails is kept as a sentence, and never raised.

    Attributes:
        layers: the hooks on the model's layers.
    """

    def __init__(
        self,
        model: "torch.nn.Module",
        policy: Twins,
        named_parameters: "Callable[[], Iterable[tuple[str, torch.Tensor]]]",
        buffers: "Callable[[], Mapping[str, torch.Tensor]]",
        report: Callable[[int, str], None],
    ) -> None:
        """Prepare.

        Args:
            model: as it was given to `record`.
            policy: which steps.
            named_parameters: returns those of the optimizer, with their names in the trace.
            buffers: returns those of the model that change in the run, by their names in the trace.
            report: receives a step, and a sentence why it has no float64 evaluation.
        """
        self._model, self._policy, self._named, self._report = model, policy, named_parameters, report
        self._buffers = buffers
        self._shapes: set[tuple[Any, ...]] = set()
        self._tape: Tape | None = None
        self.layers = LayerWatch(model)
        self._undo_all = [CUSTOM_FUNCTION.add_listener(self._on_custom)]
        self._from_before = not any(True for _ in model.children()) and _has_no_forward(model)  # a ParameterDict
        self._new_step()

    def close(self) -> None:
        """Remove the hooks."""
        self.abandon()
        while self._undo_all:
            self._undo_all.pop()()

    def _on_custom(self, call: Any, args: Any, kwargs: Any) -> Any:
        return call(*args, **kwargs) if self._tape is None else self._tape.note_custom(call, args, kwargs)

    def _new_step(self) -> None:
        self._decided = self._chosen = self._stale = False
        self._losses: list[float] = []
        self._failure: str | None = None  # of a backward pass
        self._reason: str | None = None
        self._by_function: LossFunction | None = None

    def before_call(self, step: int, epoch_begins: bool, args: Any, latest: Any, part: bool) -> None:
        """Before a call of the model, or a part of it, with gradients on."""
        if not self._decided:
            self._decided = True
            shapes = tuple(tuple(tensor.shape) for tensor in tensors_of(args))
            new = shapes not in self._shapes and len(self._shapes) < _SHAPES
            if new:
                self._shapes.add(shapes)
            self._chosen = self._chosen or self._policy.choose(step, epoch_begins, new)
            if self._chosen and self._policy.loss is not None:
                self._by_function = LossFunction(self._policy.loss, self._model, args if latest is None else latest)
        if self._tape is None and self._chosen and self._reason is None:
            self._open()
        elif self._tape is not None and not self._tape.differentiable and not part:
            self._tape.clear()  # what came before is data
            self.layers.clear()

    def before_step(self, step: int) -> None:
        """End a step: a model whose parameters are used without a call is watched from here."""
        if self._from_before and self._policy.choose(step, False, False):
            self._chosen = True
            self._open()

    def before_backward(self, parameters: "Iterable[torch.Tensor]") -> None:
        """Before a backward pass."""
        if self._tape is None or self._losses:
            return
        self._stale = any(p.grad is not None and (p.grad.is_sparse or bool(p.grad.any())) for p in parameters)

    def after_backward(self, done: Pass) -> None:
        """After a backward pass that counts: make it again in float64."""
        if self._tape is None:
            return
        import torch

        tape = self._tape
        try:
            with tape.evaluation(), torch.enable_grad():
                total = None
                for root, weight in zip(done.roots, done.weights, strict=True):
                    wide = tape.value_of(root)
                    term = (wide if weight is None else wide * tape.value_of(weight)).sum()
                    total = term if total is None else total + term
                assert total is not None  # a backward pass has a root
                total = total / done.scale
                kept = ("retain_graph", "create_graph")
                options: dict[str, Any] = {key: done.options[key] for key in kept if key in done.options}
                if done.options.get("inputs") is not None:
                    given = done.options["inputs"]
                    options["inputs"] = [tape.value_of(p) for p in ([given] if hasattr(given, "grad") else given)]
                BACKWARD.own(total, **options)
                self._losses.append(float(total.detach()))
            tape.know_gradients([parameter.grad for _, parameter in self._named()])
        except Exception as error:  # it matters only if the pass counts in the end
            self._failure = self._failure or str(error).strip() or type(error).__name__

    def cleared(self) -> None:
        """Drop the passes so far: they do not count."""
        self._losses, self._failure = [], None
        if self._tape is not None:
            self._tape.clear_gradients()

    def finish(self, step: int, n_passes: int) -> dict[str, Array] | None:
        """End a step of some backward passes; return its float64 evaluation, if it was chosen and there is one."""
        from torch_bridge.recording.float64 import CannotWiden

        if n_passes and not self._decided and not self._from_before:
            self._from_before = True
            self._chosen = self._policy.choose(step, False, False)
            self._reason = "neither the model nor a part of it was called; the next step is watched from its beginning"
        twin: dict[str, Array] | None = None
        try:
            twin = None if self._tape is None else self._gathered(self._tape)
        except CannotWiden as error:
            self._reason = str(error)
        try:
            if twin is None and self._by_function is not None:
                twin = self._by_function.evaluated(self._named(), self._buffers())
        except Exception as error:
            self._reason = f"Twins(loss=...) failed: {error}"
        self.abandon(step if twin is None and self._chosen else None)
        return twin

    def abandon(self, step: int | None = None) -> None:
        """Stop noting, and drop the step; with its number, report why it has no evaluation."""
        self._close()
        if step is not None:
            self._report(step, self._reason or "no call of backward() reached the optimizer's parameters")
        self._new_step()

    def _open(self) -> None:
        if (reason := self._unfit()) is not None:
            self._reason = reason
            return
        from torch_bridge.recording.tape import Tape

        self._tape = Tape(parameter.device for parameter in self._model.parameters())
        if self._policy.layers:
            self.layers.open(self._tape)
        self._tape.start()

    def _close(self) -> None:
        self.layers.close()
        if self._tape is not None:
            self._tape.stop()
        self._tape = None

    def _unfit(self) -> str | None:
        if _is_compiled(self._model):
            return "code compiled by torch.compile runs here, and shows no calls: give Twins(loss=...)"
        if type(self._model).__name__ in _PARALLEL and getattr(self._model, "device_ids", None) != []:
            return f"the gradients of {type(self._model).__name__} are summed over processes: record the module inside"
        for name, parameter in self._named():
            if parameter._backward_hooks:
                return f"a hook on {name} runs code of the script in the backward pass, which is not run twice"
        return None

    def _gathered(self, tape: "Tape") -> dict[str, Array] | None:
        from torch_bridge.recording.float64 import CannotWiden

        if self._failure is not None:
            raise CannotWiden(self._failure)
        if not self._losses:
            return None
        if self._stale:
            raise CannotWiden("the gradients were not cleared before the step, so they hold more than its own loss")
        twin = {"loss": np.asarray(sum(self._losses))}
        for name, parameter in self._named():
            gradient = tape.gradient_of(parameter)
            if parameter.grad is not None and gradient is None and bool(parameter.grad.to_dense().any()):
                raise CannotWiden(f"the gradient of {name} comes from a computation that was not recorded")
            if parameter.grad is not None and gradient is not None:
                twin[f"gradient/{name}"] = gradient.detach().cpu().numpy()  # the only reference: not copied
        for name, buffer in self._buffers().items():
            if (value := tape.state_of(buffer)) is not None:
                twin[f"buffer/{name}"] = value.detach().cpu().numpy().copy()  # of steps to come as well
        return twin | self.layers.gathered()


def _has_no_forward(model: "torch.nn.Module") -> bool:
    import torch

    own = next(vars(kind)["forward"] for kind in type(model).__mro__ if "forward" in vars(kind))
    return own is torch.nn.Module.forward


def _is_compiled(model: "torch.nn.Module") -> bool:
    if any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules()):
        return True
    eval_frame = sys.modules.get("torch._dynamo.eval_frame")
    backends = getattr(eval_frame, "cached_backends", {})  # plain torch puts a None there
    return any(backend is not None for backend in backends.values())
