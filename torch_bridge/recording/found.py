"""What hooks find by themselves of an optimizer's surroundings: schedulers, clipping, the average."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch_bridge.recording.clip_calls import ClipCalls
from torch_bridge.recording.header import Header
from torch_bridge.recording.loaders import Loaders
from torch_bridge.recording.patch import UPDATE_AVERAGE
from torch_bridge.recording.scheduler_steps import SchedulerSteps
from torch_bridge.translate.parameters import bare_parameters
from torch_bridge.translate.read import read_average
from torch_bridge.translate.recipe import Untranslated

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Unasked:
    """What a recorder goes by that was made for a script without a line in it.

    Attributes:
        loaders: those that the script iterates.
        notify: takes each sentence on what could not be seen.
    """

    loaders: Loaders
    notify: Callable[[str], None]


class Found:
    """Listens for what `record` was not given, and amends the header's recipe by it."""

    def __init__(
        self,
        model: "torch.nn.Module",
        header: Header,
        guarded: Callable[[Callable[..., Any]], Callable[..., Any]],
        *,
        schedulers: SchedulerSteps | None,
        clipping: ClipCalls | None,
        averaged: "Callable[[str, torch.Tensor], None] | None",
    ) -> None:
        """Listen.

        Args:
            model: names the parameters of the average.
            header: whose recipe.
            guarded: makes a function into a hook that never raises.
            schedulers: None if they were given.
            clipping: likewise.
            averaged: is called with each parameter's name and average after an update; None if the average was given.
        """
        self._model, self._header, self._averaged = model, header, averaged
        self._schedulers, self._clipping = schedulers, clipping
        self._average: Any = None
        self._n_averaged = 0
        self._after_update = guarded(self._see_average)
        self._undo = [each.close for each in (schedulers, clipping) if each is not None]
        if averaged is not None:
            self._undo.append(UPDATE_AVERAGE.add_listener(self._on_average))

    def close(self) -> None:
        """Listen no more."""
        while self._undo:
            self._undo.pop()()

    def before_step(self) -> None:
        """Hear that a step begins."""
        if self._schedulers is not None:
            self._schedulers.listen()

    def take(self) -> None:
        """Hear that a step uses the gradients as they are."""
        if self._clipping is not None:
            self._clipping.take()

    def drop(self) -> None:
        """Hear that a step came to nothing."""
        if self._clipping is not None:
            self._clipping.drop()

    def settle(self, n_steps: int, search: bool = False, is_over: bool = True) -> None:
        """Amend the recipe by what the steps so far have shown.

        Args:
            n_steps: how many they are.
            search: look also for schedulers that were not stepped yet.
            is_over: say what is not known of them.
        """
        if self._clipping is not None and (clip := self._clipping.found(n_steps)) is not None:
            self._header.amend(clip=clip)
        if self._average is not None and self._n_averaged < n_steps:
            reason = f"update_parameters came after {self._n_averaged} of {n_steps} steps, not after each"
            self._header.amend(average=Untranslated(type(self._average).__name__, reason, "ValueError"))
        if self._schedulers is not None and (found := self._schedulers.found(n_steps, search)) is not None:
            rows, steps_per_epoch, sentence = found
            self._header.amend(rows, steps_per_epoch=steps_per_epoch)
            if sentence and is_over:
                self._header.note(sentence)

    def _on_average(self, call: Any, args: Any, kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        self._after_update(args[0], kwargs.get("model", args[-1]))
        return result

    def _see_average(self, average: Any, source: Any) -> None:
        names = {id(parameter): name for name, parameter in bare_parameters(self._model)}
        pairs = list(zip(source.parameters(), average.module.parameters(), strict=False))
        if self._averaged is None or not any(id(parameter) in names for parameter, _ in pairs):
            return
        if self._average is None:
            self._average = average
            self._header.amend(average=read_average(average))
        if self._average is not average:
            self._header.note("the model has several averages: the trace holds the one that was updated first")
            return
        self._n_averaged += 1
        for parameter, averaged in pairs:
            if id(parameter) in names:
                self._averaged(names[id(parameter)], averaged)
