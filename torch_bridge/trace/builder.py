"""From the steps of a run to its Trace."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from torch_bridge.trace.digest import digest
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array, Step, Trace


class TraceBuilder:
    """Gathers the steps of a run and stacks them into a `Trace`."""

    def __init__(
        self,
        static: Mapping[str, Any],
        *,
        digest_every: int | None = None,
        in_full: tuple[str, ...] = ("data", "buffer_before", "gradient", "buffer"),
        statistics: bool = True,
    ) -> None:
        """Begin a trace.

        Args:
            static: plain data for ``Trace.static``.
            digest_every: None keeps every tensor in full. A number k keeps a digest and three statistics of each
                parameter-sized tensor and step, and the tensor itself at steps k-1, 2k-1, ...
            in_full: phases that stay full even then. With gradients and buffers, everything else can be rebuilt.
            statistics: keep the three statistics; without them a digest costs next to nothing.
        """
        if digest_every is not None and digest_every < 1:
            raise ValueError(f"digest_every must be a positive number of steps or None, but got {digest_every}")
        self.static = dict(static)
        self.initial: dict[str, Array] = {}
        self.twins: dict[int, Step] = {}
        self.n_steps = 0
        self._digest_every = digest_every
        self._in_full = in_full
        self._statistics = statistics
        self._values: dict[str, dict[int, Array]] = {}
        self._seen: dict[str, list[int]] = {}
        self._digests: dict[str, list[Array]] = {}
        self._norms: dict[str, list[Array]] = {}

    def append(self, step: Step) -> None:
        """Add one step; arrays are copied."""
        t = self.n_steps
        for key, value in step.items():
            self._seen.setdefault(key, []).append(t)
            values = self._values.setdefault(key, {})
            if not self._is_digested(key, value):
                values[t] = np.array(value)
                continue
            self._digests.setdefault(key, []).append(digest(value))
            if self._statistics:
                self._norms.setdefault(key, []).append(_statistics(value))
            if (t + 1) % (self._digest_every or 1) == 0:
                values[t] = np.array(value)
        self.n_steps += 1

    def stood_still(self, key: str, value: Array) -> None:
        """Add a quantity to the initial state and to all steps so far, which it passed unchanged."""
        self.initial[key] = np.array(value)
        self.fill(key, value)

    def fill(self, key: str, value: Array) -> None:
        """Give all steps so far a quantity that they lack."""
        n_steps, self.n_steps = self.n_steps, 0
        for _ in range(n_steps):
            self.append({key: value})

    def build(self, extra: Mapping[str, Array] | None = None) -> Trace:
        """Return the trace of the steps so far."""
        steps, kept, digests, norms, present = {}, {}, {}, {}, {}
        for key, values in self._values.items():
            seen = self._seen[key]
            if len(seen) < self.n_steps:
                present[key] = np.isin(np.arange(self.n_steps), seen)
            if key in self._digests:
                digests[key] = _rows(dict(zip(seen, self._digests[key], strict=True)), self.n_steps)
                if self._statistics:
                    norms[key] = _rows(dict(zip(seen, self._norms[key], strict=True)), self.n_steps)
                kept[key] = np.array(sorted(values), np.int64)
                shape = tuple(self.static.get("shapes", {}).get(name_of(key), ()))
                steps[key] = np.stack([values[t] for t in sorted(values)]) if values else np.zeros((0, *shape))
            else:
                steps[key] = _rows(values, self.n_steps)
        static = {**self.static, "n_steps": self.n_steps}
        return Trace(
            static, dict(self.initial), steps, kept, digests, norms, present, dict(extra or {}), dict(self.twins)
        )

    def _is_digested(self, key: str, value: Array) -> bool:
        return self._digest_every is not None and phase_of(key) not in self._in_full and np.ndim(value) > 0


def _rows(values: Mapping[int, Array], n_steps: int) -> Array:
    """Stack by step; missing steps are zero, and a shorter last batch is padded with -1."""
    shape = np.max([np.shape(value) for value in values.values()], axis=0).astype(int)
    some = np.asarray(next(iter(values.values())))
    ragged = any(np.shape(value) != tuple(shape) for value in values.values())
    rows = np.full((n_steps, *shape), np.array(-1 if ragged else 0).astype(some.dtype))  # of uint8 the largest
    for t, value in values.items():
        rows[(slice(t, t + 1), *(slice(n) for n in np.shape(value)))] = value
    return rows


def _statistics(value: Array) -> Array:
    wide = np.abs(np.asarray(value)).astype(np.float64).ravel()
    mean = np.mean(np.real(np.asarray(value)).astype(np.float64)) if wide.size else 0.0
    return np.array([np.sqrt(np.sum(wide**2)), wide.max(initial=0.0), mean])
