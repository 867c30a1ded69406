"""Which schedulers set an optimizer's learning rate, and after how many of its steps they are stepped."""

import gc
from collections.abc import Callable, Sequence
from typing import Any

from torch_bridge.recording.patch import scheduler_steps
from torch_bridge.translate.read import read_schedulers
from torch_bridge.translate.recipe import Scheduler, Untranslated


class SchedulerSteps:
    """Hears ``scheduler.step()``, where nobody named the schedulers.

    They are read when the first of them is stepped, before it is, for then they all stand at their beginning.
    """

    def __init__(
        self,
        optimizer: Any,
        step: Callable[[], int],
        guarded: Callable[[Callable[..., Any]], Callable[..., Any]],
        metric: Callable[[Any], None],
    ) -> None:
        """Listen.

        Args:
            optimizer: whose schedulers.
            step: returns how many steps were made.
            guarded: makes a function into a hook that never raises.
            metric: is called with what a ReduceLROnPlateau is given.
        """
        self._optimizer, self._step, self._metric = optimizer, step, metric
        self._before = guarded(self._before_step)
        self._inside = False
        self._times: dict[int, list[int]] = {}
        self._schedulers: list[Any] = []
        self._alone: list[list[Scheduler]] = []  # the one that was stepped first
        self._together: list[list[Scheduler]] = []
        self._undo: list[Callable[[], None]] = []
        self._heard: set[int] = set()
        self._began = 0  # where the one that was stepped first stood before
        self.listen()

    def listen(self) -> None:
        """Listen to the classes of schedulers that there are by now."""
        for patch in scheduler_steps():
            if id(patch) not in self._heard:
                self._heard.add(id(patch))
                self._undo.append(patch.add_listener(self._on_step))

    def close(self) -> None:
        """Listen no more."""
        while self._undo:
            self._undo.pop()()

    def found(self, n_steps: int, search: bool = False) -> tuple[list[list[Scheduler]], int, str] | None:
        """Return each group's schedulers, the steps between two of theirs, and a sentence on what is not known.

        Args:
            n_steps: how many steps were made.
            search: look also for schedulers that were not stepped yet.
        """
        if not self._times:
            schedulers = schedulers_of(self._optimizer) if search else []
            if not schedulers:
                return None
            sentence = f"no scheduler.step() came within the {n_steps} recorded steps: steps_per_epoch is not known"
            return read_schedulers(schedulers, self._optimizer), max(1, n_steps), sentence
        stepped = [scheduler for scheduler in self._schedulers if id(scheduler) in self._times]
        first, *others = (self._times[id(scheduler)] for scheduler in stepped)
        names = ", ".join(type(scheduler).__name__ for scheduler in stepped)
        reason = ""
        if self._began:
            reason = f"{names} stood at epoch {self._began} when it was first seen to be stepped, not at its beginning"
        elif any(times != first for times in others):
            reason = f"{names} are stepped at different moments, so none of them alone sets the learning rate"
        elif first != [first[0] * (k + 1) for k in range(len(first))] or first[0] == 0:
            listed = ", ".join(map(str, first[:5])) + (", ..." if len(first) > 5 else "")
            reason = f"{names} was stepped after {listed} steps of the optimizer, which are no regular intervals"
        if reason:
            return [[Untranslated(names, reason, "ValueError")] for _ in self._alone], 1, reason
        return (self._together if others else self._alone), first[0], ""

    def _on_step(self, call: Any, args: Any, kwargs: Any) -> Any:
        scheduler = args[0]
        is_own = getattr(scheduler, "optimizer", None) is self._optimizer
        if self._inside or not is_own or getattr(scheduler, "_is_initial", False):
            return call(*args, **kwargs)
        self._before(scheduler, args[1:], kwargs)
        self._inside = True  # a SequentialLR steps others
        try:
            return call(*args, **kwargs)
        finally:
            self._inside = False

    def _before_step(self, scheduler: Any, args: Any, kwargs: Any) -> None:
        if not self._times:
            rest = [each for each in schedulers_of(self._optimizer) if each is not scheduler]
            self._schedulers = [scheduler, *rest]
            self._began = next((vars(each).get("last_epoch", 0) for each in (*_parts(scheduler), scheduler)), 0)
            self._alone = read_schedulers([scheduler], self._optimizer)
            self._together = read_schedulers(self._schedulers, self._optimizer) if rest else self._alone
        elif all(scheduler is not each for each in self._schedulers):
            self._schedulers.append(scheduler)
        self._times.setdefault(id(scheduler), []).append(self._step())
        if type(scheduler).__name__ == "ReduceLROnPlateau":
            self._metric(args[0] if args else kwargs["metrics"])


def schedulers_of(optimizer: Any) -> list[Any]:
    """Return the schedulers of an optimizer that are in use by nothing but the script, in the order of their making."""
    from torch.optim.lr_scheduler import LRScheduler

    found = [
        each
        for each in gc.get_objects()
        if issubclass(type(each), LRScheduler) and vars(each).get("optimizer") is optimizer
    ]
    inner = {id(part) for each in found for part in _parts(each)}
    return [each for each in found if id(each) not in inner]


def _parts(scheduler: Any) -> Sequence[Any]:
    return getattr(scheduler, "_schedulers", ())
