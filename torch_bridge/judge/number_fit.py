"""A difference between two rules put down to other hyperparameters: small ones that holding them explains, or a wrong
one.
"""

from collections.abc import Mapping

import numpy as np

from torch_bridge.judge.findings import HELD, norm
from torch_bridge.judge.ideal import Ideal
from torch_bridge.judge.least_squares import fitted
from torch_bridge.trace.trace import Array

_ROUNDS = 8  # of Gauss and Newton
_STEP = 1e-3  # of a hyperparameter, for its derivative away from torch's value: at most, relative to its unit


class NumberFit:
    """The hyperparameters of torch's rule moved until one quantity is the candidate's.

    Attributes:
        sizes: 2-norm of the quantity's derivative by each hyperparameter.
    """

    def __init__(self, ideal: Ideal, value: Array, rounding: float, held: float) -> None:
        """Prepare the fit.

        Args:
            ideal: the quantity of torch's.
            value: the candidate's.
            rounding: the distance (2-norm) that counts as none.
            held: the relative change of a hyperparameter that holding it explains.
        """
        self._ideal, self._value, self._rounding, self._held = ideal, value, rounding, held
        with np.errstate(invalid="ignore"):
            self._gap = value - ideal.value
        columns = {key: np.ravel(column) for key, column in ideal.columns().items()}
        self.sizes = {key: norm(column) for key, column in columns.items()}
        self._columns = {key: column for key, column in columns.items() if self.sizes[key] * HELD > rounding * 1e-6}
        self._changes: dict[str, float] = {}

    def with_free(self, *free: str) -> float:
        """Fit with the hyperparameters within what holding them explains, but for those that are free.

        Returns:
            The distance that is left. The linear fit is refined only where it explains most of the difference: the
            rest is then what its own curvature makes.
        """
        most = dict.fromkeys(self._columns, self._held) | dict.fromkeys(free, np.inf)
        self._changes, rest = fitted(self._gap, self._columns, self.sizes, most)
        start, columns = norm(self._gap), dict(self._columns)
        for _ in range(_ROUNDS):
            if rest <= self._rounding or self._ideal.at is None or not (free or rest < 0.5 * start):
                return rest
            moved = self._at(self._changes)
            if not np.isfinite(moved).all():
                return rest
            gap = np.ravel(self._value) - moved
            if (left := norm(gap)) <= self._rounding:
                return left
            if free:  # far from torch's value every derivative is another
                columns = {key: self._derivative(key, column) for key, column in columns.items()}
            sizes = {key: norm(column) or 1.0 for key, column in columns.items()}
            target = gap + sum(change * columns[key] for key, change in self._changes.items())
            changes, _ = fitted(target, columns, sizes, most)
            if not changes:
                return rest
            step = max(abs(changes[key] - self._changes[key]) for key in changes)
            self._changes, rest = changes, norm(gap)
            if step < 1e-15:
                return rest
        moved = self._at(self._changes)
        return norm(np.ravel(self._value) - moved) if np.isfinite(moved).all() else rest

    def _derivative(self, key: str, column: Array) -> Array:
        """The derivative by one hyperparameter at the latest fit, by central differences."""
        at = self._changes[key]
        # So far that rounding is far below what changes, and so near that the rule does not bend much on the way.
        step = min(_STEP * (1 + abs(at)), 0.1 * _STEP * norm(self._value) / (norm(column) or 1.0))
        step = step or _STEP  # of a quantity that is zero
        up, down = (self._at(self._changes | {key: at + sign * step}) for sign in (1, -1))
        return np.asarray((up - down) / (2 * step))

    @property
    def changes(self) -> dict[str, float]:
        """The changes of the latest fit, relative to the hyperparameters' units."""
        return dict(self._changes)

    def explained(self) -> Array:
        """Return what of the difference the latest fit explains, to first order."""
        return sum((change * self._columns[key] for key, change in self._changes.items()), np.zeros(self._gap.size))

    def blamed(self, matching: frozenset[str]) -> dict[str, float]:
        """Return relative changes of hyperparameters that explain the gap: of one alone, if one is enough, or several.

        The others stay within what holding them explains. Where each of two alone is enough, as for a bias that began
        at zero, whose decay and momentum are one direction after the first step, there is no telling, and none is
        named.
        """
        alone = []
        for key in self._columns.keys() - matching:
            if self.with_free(key) <= self._rounding:
                alone.append({key: self._changes[key]})
        if alone:
            return alone[0] if len(alone) == 1 else {}
        changes, rest = fitted(self._gap, self._columns, self.sizes)
        off: Mapping[str, float] = {key: change for key, change in changes.items() if abs(change) > self._held}
        return dict(off) if rest <= self._rounding and not off.keys() & matching else {}

    def _at(self, changes: Mapping[str, float]) -> Array:
        assert self._ideal.at is not None
        return np.ravel(self._ideal.at(changes))
