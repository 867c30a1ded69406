"""Which hyperparameters, or which flag, turn torch's rule into the port's."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch_bridge.judge.preflight.both_rules import COARSE, Rules, apart, tolerance
from torch_bridge.judge.preflight.finding import Finding, number
from torch_bridge.trace.trace import Array
from torch_bridge.translate.optimizers import adapter_named

STEPS = 16
"""The number of steps by which hyperparameters are found."""

WORDS = {
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "eps": "epsilon",
    "betas[0]": "betas",
    "betas[1]": "betas",
}


@dataclass(frozen=True)
class Explanation:
    """What makes torch's rule the port's, for one leaf.

    Attributes:
        rules: both.
        leaf: its position among the probe's.
        shifts: by number, what is added to torch's value; of the learning rate, in shares of it.
        flags: those that are not torch's.
        rates: the port's learning rate at each step.
        unknown: nothing does.
    """

    rules: Rules
    leaf: int
    shifts: Array
    flags: dict[str, Any] = field(default_factory=dict)
    rates: Array | None = None
    unknown: bool = False

    def explains(self, rules: Rules, leaf: int) -> bool:
        """Return whether the same changes make torch's rule the port's for another leaf of the group."""
        if self.unknown:
            return True
        changed = _changed(rules, leaf, self.shifts, self.flags, self.rates, rules.probe.n_steps)
        return bool((apart(rules, changed[:, None], rules.jax[:, [leaf]], [leaf]) <= 2).all())

    def findings(self, names: str) -> Iterator[Finding]:
        """Return a finding for each number or flag that is not torch's."""
        rules, adapter = self.rules, adapter_named(self.rules.recipe.optimizer)
        theirs = rules.numbers[self.leaf]
        if self.unknown:
            yield Finding(
                "update rule",
                f"The port's rule moves {names} otherwise than {adapter.torch_class} with any other hyperparameters.",
                "Take the rule that `torch-bridge explain` prints for this trace, or compare the stages of your own "
                "with it.",
                adapter.torch_class,
                "another rule",
            )
            return
        for flag, value in self.flags.items():
            theirs_flag = rules.recipe.groups[rules.probe.leaves[self.leaf].group or 0].options[flag]
            yield Finding(
                flag,
                f"torch moves {names} with {flag}={theirs_flag}, and the port as with {flag}={value}.",
                f"Give the port's rule {flag}={theirs_flag}.",
                str(theirs_flag),
                str(value),
            )
        for column, each in enumerate(adapter.numbers):
            if each.option == "lr":
                yield from self._rates(names, theirs[:, column])
            elif self.shifts[column] != 0:
                torch, jax = theirs[0, column], theirs[0, column] + self.shifts[column]
                name = WORDS.get(each.label, each.label)
                yield Finding(
                    name,
                    f"torch moves {names} with {each.label}={number(torch)}, the port as with {number(jax)}.",
                    f"Give the port's rule {each.label}={number(torch)} for {names}.",
                    number(torch),
                    number(jax),
                )

    def _rates(self, names: str, torch: Array) -> Iterator[Finding]:
        if self.rates is None:
            return
        jax, size = self.rates, np.maximum(np.abs(torch), np.abs(self.rates))
        # An element that hardly moves, at a rate that is next to nothing, tells no rate.
        off = np.flatnonzero(np.abs(jax - torch) > 10 * COARSE * np.maximum(size, 1e-3 * size.max(initial=0.0)))
        if not off.size:
            return
        first = int(off[0])
        constant = first == 0 and np.ptp(jax / np.where(torch, torch, 1.0)) <= 10 * COARSE * np.abs(jax[0] / torch[0])
        if constant:
            yield Finding(
                "learning rate",
                f"torch's learning rate of {names} is {number(torch[0])}, the port's is {number(jax[0])}: "
                f"{number(jax[0] / torch[0])} times as large at every step.",
                f"Give the port's rule the learning rate {number(torch[0])}.",
                number(torch[0]),
                number(jax[0]),
            )
            return
        yield Finding(
            "schedule",
            f"The learning rate of {names} is {number(torch[first])} in torch and {number(jax[first])} in the port at "
            f"step {first} (from 0), the first of {off.size} of {len(torch)} steps at which they differ; at the last "
            f"of them it is {number(torch[off[-1]])} and {number(jax[off[-1]])}.",
            "Compare where the schedule begins and what it counts, steps or epochs; `torch-bridge explain` prints "
            "torch's as code.",
            number(torch[first]),
            number(jax[first]),
        )


def fitted(rules: Rules, leaf: int) -> Explanation:
    """Return what makes torch's rule the port's for a leaf: the fewest numbers, with torch's flags if these will do."""
    adapter = adapter_named(rules.recipe.optimizer)
    own = rules.recipe.groups[rules.probe.leaves[leaf].group or 0].options
    others = [i for i, each in enumerate(adapter.numbers) if each.option != "lr"]
    for flags in ({}, *({flag: not own[flag]} for flag in adapter.flags if flag in own)):
        for count in range(3):
            for fit in itertools.combinations(others, count):
                shifts = _shifts(rules, leaf, flags, fit)
                rates = _rates_of(rules, leaf, shifts, flags)
                if rates is not None and _is_plausible(rules, leaf, fit, rates):
                    return Explanation(rules, leaf, shifts, flags, rates)
    return Explanation(rules, leaf, np.zeros(len(adapter.numbers)), unknown=True)


def _shifts(rules: Rules, leaf: int, flags: dict[str, Any], fit: tuple[int, ...]) -> Array:
    """The changes of some numbers by which the first steps agree best at any rate, by Gauss and Newton's method."""
    adapter = adapter_named(rules.recipe.optimizer)
    size, n = len(adapter.numbers), min(STEPS, rules.probe.n_steps)
    shifts = np.zeros(size)
    if not fit:
        return shifts
    free = [*fit, *(i for i, each in enumerate(adapter.numbers) if each.option == "lr")]
    target = rules.jax[:n, leaf]
    unit = tolerance(rules, target[:, None], target[:, None], [leaf])[:, 0]
    steps = np.array([1e-4 * max(abs(number), 1e-4) for number in rules.numbers[leaf, 0]])
    steps[free[-1]] = 1e-4  # of itself

    def residual(shifts: Array) -> Array:
        changed = _changed(rules, leaf, shifts, flags, None, n)
        return np.nan_to_num(((changed - target) / unit).ravel(), nan=1e9, posinf=1e9, neginf=-1e9)

    for _ in range(8):
        now = residual(shifts)
        if np.abs(now).max() < 1e-3:
            break
        columns = np.stack([(residual(shifts + steps * (np.arange(size) == i)) - now) / steps[i] for i in free], 1)
        scale = np.maximum(np.linalg.norm(columns, axis=0), 1e-30)
        move = np.zeros(size)
        move[free] = -np.linalg.lstsq(columns / scale, now, rcond=1e-6)[0] / scale
        for _ in range(4):  # shorter, if that is too far
            if np.linalg.norm(residual(shifts + move)) < np.linalg.norm(now):
                break
            move = move / 4
        shifts = shifts + move
    shifts[free[-1]] = 0  # the rates are taken from each step
    return shifts


def _is_plausible(rules: Rules, leaf: int, fit: tuple[int, ...], rates: Array) -> bool:
    """A number to which no difference is put down by itself is the cause only if nothing else is: not with a rate."""
    adapter = adapter_named(rules.recipe.optimizer)
    if all(adapter.numbers[i].fitted for i in fit):
        return True
    return len(fit) == 1 and bool(np.allclose(rates, rules.rates[:, leaf], rtol=10 * COARSE, atol=0))


def _rates_of(rules: Rules, leaf: int, shifts: Array, flags: dict[str, Any]) -> Array | None:
    """The port's learning rate at each step, if its changes are torch's but for it; else None."""
    own = rules.rates[:, leaf]
    one = float(np.abs(own).max()) or 1.0  # changes are proportional to the rate, and torch's may be 0 at a step
    direction = _changed(rules, leaf, shifts, flags, np.full(len(own), one), rules.probe.n_steps)
    jax = rules.jax[:, leaf]
    unit = tolerance(rules, jax[:, None], jax[:, None], [leaf])[:, 0]
    squares = np.sum(direction**2, 1)
    still = squares <= 1e-6 * squares.max(initial=0.0)  # next to nothing moves, at any rate
    rates = np.where(still, own, one * np.sum(direction * jax, 1) / np.where(still, 1.0, squares))
    agreed = np.abs(jax - rates[:, None] / one * direction) <= unit
    return rates if bool(agreed.all()) else None


def _changed(rules: Rules, leaf: int, shifts: Array, flags: dict[str, Any], rates: Array | None, n_steps: int) -> Array:
    """Torch's changes of a leaf with other numbers, flags and learning rates, ``(n_steps, SIZE)``.

    The shift of the learning rate is a share of it.
    """
    numbers, column = rules.numbers[leaf : leaf + 1, :n_steps].copy(), rules.rate_column
    given = numbers[..., column] * (1 + shifts[column]) if rates is None else rates[None, :n_steps]
    numbers += np.where(np.arange(len(shifts)) == column, 0.0, shifts)
    numbers[..., column] = given
    with np.errstate(all="ignore"):
        changed: Array = rules.torchs([leaf], rules.probe.gradients, numbers, flags)[:, 0]
    return changed
