"""What a trace keeps of a run: everything, digests with some tensors, or the last steps."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from torch_bridge.trace.phases import phase_of

Mode: TypeAlias = Literal["full", "digest", "ring"]

MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class Keep:
    """What is kept of each tensor of a step. Of every step are kept its examples (their indices) and its numbers.

    Attributes:
        mode: ``"full"`` keeps every tensor. ``"digest"`` keeps of each tensor and step a 128-bit digest and three norms
            (2-norm, largest magnitude, mean), gradients and buffers in full, and every k-th step in full: what is
            missing `torch_bridge.restore` rebuilds, and proves it by the digests. ``"ring"`` keeps the last k steps in
            full, and of all steps before the digests and norms: for a long run that goes wrong at its end.
        every: of ``"digest"``, the k: steps k-1, 2k-1, ... are in full; None keeps no step in full.
        last: of ``"ring"``, the k.
        gradients: of ``"digest"``, whether gradients and buffers are in full; without them nothing can be rebuilt.
        norms: whether there are norms beside the digests.

    Raises:
        ValueError: a number is not positive, or does not belong to the mode.

    Example:
        >>> Keep("digest", every=100)
        Keep(mode='digest', every=100, last=None, gradients=True, norms=True)
    """

    mode: Mode = "full"
    every: int | None = None
    last: int | None = None
    gradients: bool = True
    norms: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"no mode {self.mode!r}: a trace is kept in one of {', '.join(MODES)}")
        for name, value, mode in (("every", self.every, "digest"), ("last", self.last, "ring")):
            if value is not None and self.mode != mode:
                raise ValueError(f"{name}={value} belongs to the mode {mode!r}, but the mode is {self.mode!r}")
            if value is not None and value < 1:
                raise ValueError(f"{name} must be a positive number of steps or None, but got {value}")
        if self.mode == "ring" and self.last is None:
            raise ValueError("the mode 'ring' needs last=, how many of the last steps are kept in full")
        if not self.gradients and self.mode != "digest":
            raise ValueError(f"gradients=False belongs to the mode 'digest', but the mode is {self.mode!r}")

    def digests(self, key: str, value: Any) -> bool:
        """Return True if a quantity, an array, is kept as its digest."""
        if self.mode == "full" or value.ndim == 0:
            return False
        phase = phase_of(key)
        rebuilds = self.mode == "digest" and self.gradients
        return phase != "data" and not (rebuilds and phase in ("gradient", "buffer_before", "buffer"))

    def in_full(self, step: int) -> bool:
        """Return True if what is digested is at this step kept in full as well."""
        return self.every is not None and (step + 1) % self.every == 0
