"""Both update rules on the same made-up numbers, and how far apart they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch_bridge.judge.preflight.ports_rule import PortsRule, ports_rule
from torch_bridge.judge.preflight.probes import Probe, probe_of, recorded_rule
from torch_bridge.judge.preflight.side import Sides
from torch_bridge.trace.trace import Array
from torch_bridge.translate.optimizers import adapter_named
from torch_bridge.translate.recipe import Recipe

COARSE = 1e-4
"""The relative difference of a change that is a finding: rules are run in float32 here, and `torch_bridge.check` tells
smaller ones from rounding."""


@dataclass(frozen=True)
class Rules:
    """Both rules on a probe.

    Attributes:
        probe: what they are run on.
        recipe: torch's.
        numbers: torch's hyperparameters, ``(leaves, n_steps, numbers)``.
        torch: torch's changes, ``(n_steps, leaves, SIZE)``.
        jax: the port's.
        run: the port's rule, for other gradients.
    """

    probe: Probe
    recipe: Recipe
    numbers: Array
    torch: Array
    jax: Array
    run: PortsRule

    @property
    def rates(self) -> Array:
        """Torch's learning rates, ``(n_steps, leaves)``."""
        return np.asarray(self.numbers[..., self.rate_column].T)

    @property
    def rate_column(self) -> int:
        """The learning rate's place among the numbers."""
        return next(i for i, each in enumerate(adapter_named(self.recipe.optimizer).numbers) if each.option == "lr")

    def torchs(self, leaves: list[int], gradients: Array, numbers: Array, flags: dict[str, Any]) -> Array:
        """Return torch's changes of some leaves of one group for other gradients, numbers or flags."""
        group = self.probe.leaves[leaves[0]].group
        assert group is not None
        rule = recorded_rule(self.recipe, group, flags, numbers.shape[1])
        given = gradients[np.arange(numbers.shape[1]) % len(gradients)][:, leaves]
        return np.asarray(rule(numbers, self.probe.params[leaves], given))


def rules_of(sides: Sides) -> Rules | None:
    """Run both rules on a probe; None where there is no rule on one of the sides.

    Raises:
        Exception: whatever the port's rule raises on small parameters.
    """
    recipe = sides.recipe
    if recipe is None or sides.tx is None or recipe.arithmetic is not None:
        return None
    if adapter_named(recipe.optimizer).rule is None:
        return None
    probe = probe_of(sides, recipe)
    if not probe.leaves:
        return None
    metrics = _table(sides, "metric", probe.n_steps)
    run = ports_rule(probe, sides.tx, sides.start, metrics, sides.opt_state)
    per_group = [_numbers(sides, recipe, group, probe.n_steps) for group in range(len(recipe.groups))]
    numbers = np.stack([per_group[leaf.group or 0] for leaf in probe.leaves])
    rules = Rules(probe, recipe, numbers, np.empty(0), run(probe.gradients), run)
    return Rules(probe, recipe, numbers, _torchs(rules), rules.jax, run)


def _torchs(rules: Rules) -> Array:
    found = np.zeros((rules.probe.n_steps, len(rules.probe.leaves), rules.probe.params.shape[1]))
    for group in {leaf.group for leaf in rules.probe.leaves}:
        mine = [i for i, leaf in enumerate(rules.probe.leaves) if leaf.group == group]
        found[:, mine] = rules.torchs(mine, rules.probe.gradients, rules.numbers[mine], {})
    return found


def tolerance(rules: Rules, torch: Array, jax: Array, leaves: Sequence[int] | None = None) -> Array:
    """Return by how much two changes may differ, ``(steps, leaves, SIZE)``.

    That is a share of `COARSE` of the change of the leaf, no less than that share of a thousandth of what a step of
    torch's with its learning rate can be; and the rounding of parameters from which a rule takes its change.
    """
    chosen = list(range(len(rules.probe.leaves)) if leaves is None else leaves)
    rates = np.abs(rules.rates[: len(torch), chosen])
    rates = np.where(rates > 0, rates, 1.0)
    own = np.abs(rules.torch[: len(torch), chosen]).max(2)
    sizes = np.maximum(np.abs(torch).max(2), np.abs(jax).max(2))
    sizes = np.maximum(sizes, 1e-3 * rates * np.max(own / rates, 0, initial=0.0))
    rounding = 8 * rules.run.roundoff * np.abs(rules.probe.params[chosen])
    return np.asarray(np.maximum(COARSE * sizes[..., None] + rounding, 1e-30))


def apart(rules: Rules, torch: Array, jax: Array, leaves: Sequence[int] | None = None) -> Array:
    """Return for each step and leaf how far two changes are apart, in units of `tolerance`, ``(steps, leaves)``."""
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.abs(jax - torch) / tolerance(rules, torch, jax, leaves)
    return np.asarray(np.nan_to_num(gap.max(2), nan=np.inf))


def _numbers(sides: Sides, recipe: Recipe, group: int, n_steps: int) -> Array:
    """Torch's hyperparameters of a group at each step, ``(n_steps, numbers)``."""
    columns = []
    for each in adapter_named(recipe.optimizer).numbers:
        seen = _table(sides, f"{each.quantity}/{group}", n_steps)
        constant = float(each.of(recipe.groups[group].options))
        columns.append(np.full(n_steps, constant) if seen is None else seen)
    return np.stack(columns, 1)


def _table(sides: Sides, key: str, n_steps: int) -> Array | None:
    if key not in sides.trace.steps:
        return None
    rows = [sides.trace.value(key, t) for t in range(n_steps)]
    known = [row for row in rows if row is not None]
    return np.array([known[0] if row is None else row for row in rows], np.float64) if known else None
