"""Which of a script's loaders a step took its batches from, where nobody says so."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch_bridge.recording.batch import Batch
from torch_bridge.recording.batches import Batches

if TYPE_CHECKING:
    import torch


class Loaders:
    """The `Batches` of every loader that a script iterates; a step's are those whose tensors the model was given.

    Where the model is given tensors of none, the loader of the step before counts, or the one that gave a batch last.
    """

    def __init__(self) -> None:
        """Begin without a loader."""
        self._all: list[Batches] = []
        self._chosen: Batches | None = None
        self._said: set[str] = set()
        self.notify: Callable[[str], None] = self._said.add  # until a recorder takes them

    def follow(self, loader: "torch.utils.data.DataLoader[Any]") -> Batches:
        """Follow one more loader."""
        batches = Batches(loader, self._fail)
        self._all.append(batches)
        return batches

    def pause(self) -> None:
        """Hear nothing more, with the hooks in place: others may have been put upon them."""
        for batches in self._all:
            batches.pause()

    def close(self) -> None:
        """Remove the hooks."""
        for batches in reversed(self._all):
            batches.close()

    @property
    def epoch_began(self) -> bool:
        """Whether an iteration of a loader in use began since this was last set to False."""
        return any(batches.epoch_began for batches in self._in_use())

    @epoch_began.setter
    def epoch_began(self, began: bool) -> None:
        for batches in self._in_use():
            batches.epoch_began = began

    @property
    def latest(self) -> Any:
        """The batch that was given last."""
        latest = max(self._in_use(), key=lambda batches: batches.moment, default=None)
        return None if latest is None else latest.latest

    def called(self, given: Any, part: bool = False) -> None:
        """Hear what the model, or a part of it, was called with, in nested containers."""
        for batches in self._all:
            batches.called(given, part)

    def passed(self) -> None:
        """Hear that a backward pass is over."""
        for batches in self._all:
            batches.passed()

    def cleared(self) -> None:
        """Hear that what the step did up to its latest backward pass came to nothing."""
        for batches in self._all:
            batches.cleared()

    def take(self, n_backward: int) -> list[Batch]:
        """Return each batch that the step used, and begin the next one; see `Batches.take`."""
        batches = self._chosen = self._choose()
        for other in self._all:
            if other is not batches:
                other.skip()
        if batches is None:
            return []
        if batches.reason is not None:
            self._say(batches.reason)
        return batches.take(n_backward)

    def _choose(self) -> Batches | None:
        matched = [batches for batches in self._all if batches.is_matched]
        if len(matched) > 1:
            self._say(f"batches of {len(matched)} loaders went into a step: the trace has those of one of them")
        if matched:
            return self._chosen if self._chosen in matched else matched[0]
        if self._chosen is not None and self._chosen.has_fresh:
            return self._chosen
        fresh = [batches for batches in self._all if batches.has_fresh]
        without = [batches for batches in self._all if batches.reason is not None and batches.moment >= 0]
        candidates = fresh or ([self._chosen] if self._chosen is not None else without)
        return max(candidates, key=lambda batches: batches.moment, default=None)

    def _in_use(self) -> list[Batches]:
        return self._all if self._chosen is None else [self._chosen]

    def _fail(self, reason: str) -> None:
        if self._chosen is not None and self._chosen.reason == reason:
            self._say(reason)

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self.notify(sentence)
