"""A PyTorch script as it is -> one trace file with a run for each of its optimizers."""

import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch_bridge.recording.found import Unasked
from torch_bridge.recording.hooks import ModuleHook, can_have_hooks
from torch_bridge.recording.loaders import Loaders
from torch_bridge.recording.owner import described, owners, parameters_of, whole_of
from torch_bridge.recording.patch import (
    BACKWARD,
    GRAD,
    ITERATE_LOADER,
    MANUAL_SEED,
    NEW_OPTIMIZER,
    Patch,
    without_recording,
)
from torch_bridge.recording.recorder import Recorder
from torch_bridge.recording.run_script import run_script
from torch_bridge.recording.twins import Twins
from torch_bridge.trace.file import TraceFile
from torch_bridge.trace.keep import Keep

if TYPE_CHECKING:
    import torch


def record_script(
    script: str | os.PathLike[str],
    arguments: Sequence[str] = (),
    *,
    output: str | os.PathLike[str] = "run.trace",
    steps: int | None = None,
    keep: Keep | None = None,
    twins: Twins | bool = True,
    notify: Callable[[str], None] = print,
) -> int:
    """Run a PyTorch script as ``python script.py`` runs it, and record the steps of its optimizers.

    A recorder, see `record`, is attached to each optimizer when the module that owns its parameters is first called
    with gradients on, else at the first backward pass. Loaders, schedulers, clipping, averages and seeds are found by
    hooks on torch's own functions.

    Args:
        script: path of the script.
        arguments: what follows it in ``sys.argv``.
        output: the trace file. It is written as the script goes, see `record`, and holds a run for each optimizer, in
            the order of their first steps, by the name of what it trains; see `Trace.load`.
        steps: record so many steps of each optimizer; the script goes on. None records all.
        keep: what is kept of each step, see `Keep`; None keeps every tensor.
        twins: see `record`.
        notify: takes each sentence: which trace is where, and what could not be seen.

    Returns:
        The script's exit status; 2 if that is 0 and no step was recorded.

    Raises:
        OSError: there is no such script, or the trace cannot be written; nothing ran.
        ValueError: ``steps`` is not positive.

    Exactness: the script computes, draws and prints what it does without. An exception that ends it is printed here.

    Example::

        record_script("train.py", ["--epochs", "2"], output="run.trace")
    """
    path = Path(script)
    if not path.is_file():
        raise FileNotFoundError(f"there is no script {path}")
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be a positive number or None, but got {steps}")
    recording = ScriptRecording(TraceFile(output), steps, keep, twins, notify)
    try:
        status = run_script(str(path), arguments)
    finally:
        recording.finish()
    if not recording.n_runs:
        notify(f"nothing was recorded: no optimizer.step() of PyTorch ran in {path}")
    return status or (0 if recording.n_runs else 2)


@dataclass(eq=False)
class _Watched:
    """An optimizer of the script; it has a recorder from the first moment at which its model is known."""

    optimizer: "weakref.ref[torch.optim.Optimizer]"
    loaders: Loaders = field(default_factory=Loaders)
    recorder: Recorder | None = None
    undo: list[Callable[[], None]] = field(default_factory=list)
    trains: str = ""
    is_over: bool = False

    def forget(self) -> None:
        while self.undo:
            self.undo.pop()()


class ScriptRecording:
    """Hooks that give every optimizer made from now on a `Recorder`.

    Attributes:
        n_runs: how many runs were written.
    """

    def __init__(
        self,
        file: TraceFile,
        steps: int | None,
        keep: Keep | None,
        twins: Twins | bool,
        notify: Callable[[str], None],
    ) -> None:
        """Listen; the arguments are those of `record_script`, and the file."""
        from torch.optim import optimizer

        self.n_runs = 0
        self._file, self._keep = file, keep
        self._steps, self._twins, self._notify = steps, twins, notify
        self._watched: list[_Watched] = []
        self._seeds: list[int] = []
        self._loaders: weakref.WeakSet[Any] = weakref.WeakSet()
        listeners = (
            (NEW_OPTIMIZER, self._on_optimizer),
            (ITERATE_LOADER, self._on_loader),
            (MANUAL_SEED, self._on_seed),
            (BACKWARD, self._on_backward),
            (GRAD, self._on_grad),
        )
        self._undo = [patch.add_listener(listener) for patch, listener in listeners]
        self._undo.append(optimizer.register_optimizer_step_pre_hook(self._before_step).remove)

    def finish(self) -> None:
        """End the runs and the file, and remove every hook."""
        for watched in self._watched:
            self._end(watched)
        self._guarded(self._file.close)
        for watched in reversed(self._watched):
            watched.loaders.close()
        while self._undo:
            self._undo.pop()()

    def _guarded(self, hook: Callable[..., None], *args: Any) -> None:
        """Nothing that goes wrong here reaches the script."""
        try:
            with without_recording():
                hook(*args)
        except Exception as error:
            self._notify(f"{hook.__name__.strip('_')} failed: {error}")

    def _on_seed(self, call: Any, args: Any, kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        self._guarded(lambda: self._seeds.append(int((*args, *kwargs.values())[0])))
        return result

    def _on_optimizer(self, call: Any, args: Any, kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        self._guarded(self._watch, args[0])
        return result

    def _on_loader(self, call: Any, args: Any, kwargs: Any) -> Any:
        from torch.utils.data import DataLoader

        loader = args[0]
        if loader in self._loaders:
            return call(*args, **kwargs)
        self._loaders.add(loader)
        iterate_is_own = type(loader).__iter__ is DataLoader.__iter__
        followed: list[Any] = []
        self._guarded(lambda: followed.extend(each.loaders.follow(loader) for each in self._watched))
        if not followed or iterate_is_own:
            return type(loader).__iter__(loader) if followed else call(*args, **kwargs)
        begin = call
        for batches in followed:  # what a subclass does around this is not known, so it is recorded from inside
            begin = _iterated(batches, begin)
        return begin(*args, **kwargs)

    def _on_backward(self, call: Any, args: Any, kwargs: Any) -> Any:
        return self._attached_at(BACKWARD, call)(*args, **kwargs)

    def _on_grad(self, call: Any, args: Any, kwargs: Any) -> Any:
        return self._attached_at(GRAD, call)(*args, **kwargs)

    def _attached_at(self, patch: Patch, call: Any) -> Any:
        """Record a backward pass of optimizers whose model was not called."""
        waiting = [watched for watched in self._watched if watched.recorder is None and not watched.is_over]
        if not waiting:
            return call
        known = patch.listeners()
        for watched in waiting:
            self._guarded(self._attach, watched, None)
        return patch.with_new(known, call)

    def _watch(self, optimizer: "torch.optim.Optimizer") -> None:
        watched = _Watched(weakref.ref(optimizer))
        self._watched.append(watched)
        for loader in list(self._loaders):
            watched.loaders.follow(loader)
        for module in owners(parameters_of(optimizer)):
            if can_have_hooks(module):
                hook = ModuleHook(module, _Call(self, watched, module))
                watched.undo.append(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

    def called(self, watched: _Watched, module: "torch.nn.Module", args: Any, kwargs: Any) -> None:
        """Hear the first call of a module that owns parameters of an optimizer without a recorder."""
        import torch

        if torch.is_grad_enabled() and watched.recorder is None and not watched.is_over:
            self._guarded(self._attach, watched, module, (args, kwargs))

    def _is_whole(self, watched: _Watched, module: "torch.nn.Module") -> bool:
        optimizer = watched.optimizer()
        held = {id(parameter) for parameter in module.parameters()}
        return optimizer is not None and all(id(parameter) in held for parameter in parameters_of(optimizer))

    def _attach(
        self, watched: _Watched, called: "torch.nn.Module | None", given: "tuple[Any, Any] | None" = None
    ) -> None:
        optimizer = watched.optimizer()
        watched.forget()
        if optimizer is None:
            watched.is_over = True
            return
        is_whole = called is not None and self._is_whole(watched, called)
        model = called if is_whole and called is not None else whole_of(parameters_of(optimizer))
        watched.trains = described(model)
        watched.is_over = True  # unless the next line succeeds
        unasked = Unasked(watched.loaders, self._notify)
        recorder = Recorder(
            model, optimizer, keep=self._keep, file=self._file, name=watched.trains, twins=self._twins, unasked=unasked
        )
        recorder.describe(seeds=self._seeds)  # those of the whole script, as they come
        watched.recorder, watched.is_over = recorder, False
        if given is not None:
            call_args, call_kwargs = given
            watched.recorder.model_is_called(call_args, call_kwargs, part=not is_whole)

    def _before_step(self, optimizer: "torch.optim.Optimizer", args: Any, kwargs: Any) -> None:
        self._guarded(self._begin_step, optimizer, args, kwargs)

    def _begin_step(self, optimizer: "torch.optim.Optimizer", args: Any, kwargs: Any) -> None:
        watched = self._of(optimizer)
        if watched is None:  # a copy, or one that was loaded
            self._watch(optimizer)
            watched = self._watched[-1]
        if watched.recorder is None and not watched.is_over:
            self._attach(watched, None)
            if not args[1:] and not kwargs.get("closure"):
                self._notify(
                    f"{type(optimizer).__name__} was found at its first step: the loss of that step, and its gradients "
                    "before clipping, could not be seen"
                )
        recorder = watched.recorder
        if recorder is not None and not watched.is_over and self._steps and recorder.n_steps >= self._steps:
            self._end(watched)

    def _of(self, optimizer: "torch.optim.Optimizer") -> _Watched | None:
        return next((each for each in self._watched if each.optimizer() is optimizer), None)

    def _end(self, watched: _Watched) -> None:
        """Write an optimizer's trace, and record no more of it."""
        watched.forget()
        recorder, over, watched.is_over = watched.recorder, watched.is_over, True
        if recorder is None or over:
            return
        recorder.close()
        self._guarded(self._tell, watched, recorder)
        watched.loaders.pause()

    def _tell(self, watched: _Watched, recorder: Recorder) -> None:
        if recorder.n_steps == 0:
            return
        steps = "1 step" if recorder.n_steps == 1 else f"{recorder.n_steps} steps"
        name = Path(self._file.path or "").name
        self._notify(f"{name}: {steps} of {recorder.optimizer_name}, which trains {watched.trains}")
        self.n_runs += 1


@dataclass(frozen=True, eq=False)
class _Call:
    """What a module's hook calls, held by the module."""

    recording: ScriptRecording
    watched: _Watched
    module: "torch.nn.Module"

    def __call__(self, args: Any, kwargs: Any) -> None:
        self.recording.called(self.watched, self.module, args, kwargs)


def _iterated(batches: Any, begin: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: batches.iterated(lambda: begin(*args, **kwargs))
