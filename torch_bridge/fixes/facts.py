"""What torch's run says about a fix: numbers that a cause has no place for."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from torch_bridge.judge.causes.cause import Cause
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.trace.trace import Trace
from torch_bridge.translate.recipe import Clip, Recipe
from torch_bridge.translate.recipe_data import recorded_recipe

PARAMETERS = {
    "lr": ("learning_rate", "lr", "init_value", "peak_value", "value"),
    "weight_decay": ("weight_decay",),
    "momentum": ("momentum", "decay"),
    "dampening": ("dampening",),
    "betas[0]": ("b1", "beta1", "decay"),
    "betas[1]": ("b2", "beta2", "decay"),
    "alpha": ("alpha", "decay"),
    "lr_decay": ("lr_decay",),
    "initial_accumulator_value": ("initial_accumulator_value",),
    "eps": ("eps", "epsilon"),
    "max_norm": ("max_norm", "max_delta", "clip_value"),
    "decay": ("decay",),
}
"""Torch's names of numbers -> the names that parameters of functions in JAX have for them."""

_MULTIPLES = {"doubled": 2.0, "halved": 0.5, "negative": -1.0}


@dataclass(frozen=True)
class Facts:
    """A cause, its entry, and the run.

    Attributes:
        cause: the proved cause.
        entry: of the catalogue.
        trace: torch's run.
    """

    cause: Cause
    entry: Entry
    trace: Trace

    @cached_property
    def recipe(self) -> Recipe | None:
        """The recorded recipe."""
        return recorded_recipe(self.trace.static) if "recipe" in self.trace.static else None

    @property
    def torch(self) -> float | None:
        """Torch's number."""
        if self.entry.name == "rate-value":
            return self.rate
        return self.cause.constants.get("torch", 0.0 if self.entry.name.endswith("-extra") else None)

    @property
    def own(self) -> float | None:
        """The port's number, fitted or known from the entry."""
        label, torch = self.entry.number or "constant", self.torch
        own = self.cause.constants.get(label)
        if self.entry.name == "rate-value" and own is not None and torch is not None:
            return own * torch
        if own is None and torch is not None:
            for word, multiple in _MULTIPLES.items():
                if self.entry.name.endswith(word):
                    return multiple * torch
        return own

    @property
    def parameters(self) -> tuple[str, ...]:
        """What the number's parameter may be called."""
        label = "lr" if self.entry.name == "rate-value" else self.entry.number
        return PARAMETERS.get(label, ())

    @property
    def rate(self) -> float | None:
        """Torch's first learning rate."""
        rates = self.trace.steps.get("learning_rate/0")
        return None if rates is None or not len(rates) else float(rates[0])

    @property
    def clip(self) -> dict[str, Any]:
        """How torch clips, by its arguments; empty where it does not."""
        recipe = self.recipe
        return dict(recipe.clip.arguments) if recipe is not None and isinstance(recipe.clip, Clip) else {}

    @property
    def limit(self) -> float | None:
        """The limit of torch's clipping."""
        return self.clip.get("max_norm", self.clip.get("clip_value"))

    @property
    def steps_per_epoch(self) -> int:
        """For how many steps a learning rate lasts, or 1."""
        rates = np.asarray(self.trace.steps.get("learning_rate/0", [0.0]), np.float64)
        (changes,) = np.nonzero(np.diff(rates))
        return int(changes[0]) + 1 if changes.size else 1

    def seeds(self) -> Iterator[int]:
        """The seeds that the run was started with."""
        yield from self.trace.static.get("settings", {}).get("seeds", ())
