"""The rules of torch.optim that are tested alike: ours, torch's, values of each option, and what torch has of them."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optax
import torch

import funcsgd
from torch_bridge.square_root import torch_root

BETAS = ((0.9, 0.999), (0.37, 0.95))


@dataclass(frozen=True)
class Rule:
    """A rule of torch's and ours.

    Attributes:
        ours: our function.
        theirs: torch's class.
        options: two values of each option, the first one torch's default or near it.
        lr: the learning rate.
        drifting: options that take schedules -> their values at a step, in torch's form.
        foreach_differs: options, or the dtype ``"complex64"``, with which torch's foreach differs from its for-loop;
            ``True`` if it always does.
        takes_root: the rule has a square root.
        holds_float32: numbers in its state are float32 whatever the dtype of the parameters.
    """

    ours: Callable[..., optax.GradientTransformationExtraArgs]
    theirs: type[torch.optim.Optimizer]
    options: Mapping[str, Sequence[Any]]
    lr: float = 0.0137
    drifting: Mapping[str, Callable[[int], Any]] = field(default_factory=dict)
    foreach_differs: bool | str = False
    takes_root: bool = True
    holds_float32: bool = False

    def flags(self) -> list[dict[str, Any]]:
        """Every combination of the values; the first has all first values, the second all second ones."""
        found = [dict(zip(self.options, values, strict=True)) for values in itertools.product(*self.options.values())]
        return [found[0], found[-1], *found[1:-1]]

    def make(self, *, root: Any = None, **options: Any) -> optax.GradientTransformationExtraArgs:
        """Our rule with torch's options, and the root that torch has here."""
        options = {"lr": self.lr} | options
        return self.ours(options.pop("lr"), **options, **self.with_root(root))

    def with_root(self, root: Any = None) -> dict[str, Any]:
        """The argument that says which root to take, if there is one."""
        return {"sqrt": torch_root() if root is None else root} if self.takes_root else {}

    def implementations(self, dtype: str = "float32") -> list[dict[str, bool]]:
        """torch's implementations that it is compared with."""
        alone = self.foreach_differs is True or self.foreach_differs == dtype
        return [{"foreach": False}] if alone else [{"foreach": False}, {"foreach": True}]


RULES: dict[str, Rule] = {
    "adagrad": Rule(
        funcsgd.adagrad,
        torch.optim.Adagrad,
        {
            "lr_decay": (0.0, 0.013),
            "weight_decay": (0.0, 0.1),
            "initial_accumulator_value": (0.0, 0.3),
            "maximize": (False, True),
        },
        drifting={"lr_decay": lambda t: 0.001 * t, "weight_decay": lambda t: 0.1 / (1 + t)},
        foreach_differs="complex64",
    ),
    "nadam": Rule(
        funcsgd.nadam,
        torch.optim.NAdam,
        {
            "betas": BETAS,
            "weight_decay": (0.0, 0.1),
            "momentum_decay": (4e-3, 0.1),
            "decoupled_weight_decay": (False, True),
            "maximize": (False, True),
        },
        drifting={
            "betas": lambda t: (0.9 - 0.01 * t, 0.99 + 0.0001 * t),
            "weight_decay": lambda t: 0.1 / (1 + t),
            "momentum_decay": lambda t: 0.01 * t,
        },
        foreach_differs=True,
        holds_float32=True,
    ),
    "radam": Rule(
        funcsgd.radam,
        torch.optim.RAdam,
        {
            "betas": BETAS,
            "eps": (1e-8, 0.0),
            "weight_decay": (0.0, 0.1),
            "decoupled_weight_decay": (False, True),
            "maximize": (False, True),
        },
        drifting={
            "betas": lambda t: (0.9 - 0.01 * t, 0.99 + 0.0001 * t),
            "weight_decay": lambda t: 0.1 / (1 + t),
        },
        foreach_differs=True,
    ),
    "adamax": Rule(
        funcsgd.adamax,
        torch.optim.Adamax,
        {"betas": BETAS, "eps": (1e-8, 1e-2), "weight_decay": (0.0, 0.1), "maximize": (False, True)},
        drifting={
            "betas": lambda t: (0.9 - 0.01 * t, 0.99 + 0.0001 * t),
            "weight_decay": lambda t: 0.1 / (1 + t),
        },
        foreach_differs="complex64",
        takes_root=False,
    ),
    "adadelta": Rule(
        funcsgd.adadelta,
        torch.optim.Adadelta,
        {"rho": (0.9, 0.37), "eps": (1e-6, 1e-2), "weight_decay": (0.0, 0.1), "maximize": (False, True)},
        lr=0.37,
        drifting={"rho": lambda t: 0.9 - 0.01 * t, "weight_decay": lambda t: 0.1 / (1 + t)},
        foreach_differs="complex64",
    ),
    "rprop": Rule(
        funcsgd.rprop,
        torch.optim.Rprop,
        {"etas": ((0.5, 1.2), (0.37, 1.7)), "step_sizes": ((1e-6, 50), (1e-2, 0.03)), "maximize": (False, True)},
        takes_root=False,
    ),
    "asgd": Rule(
        funcsgd.asgd,
        torch.optim.ASGD,
        {
            "lambd": (1e-4, 0.1),
            "alpha": (0.75, 0.5),
            "t0": (1e6, 4.5),
            "weight_decay": (0.0, 0.1),
            "maximize": (False, True),
        },
        drifting={
            "lambd": lambda t: 0.01 * t,
            "alpha": lambda t: 0.75 - 0.01 * t,
            "t0": lambda t: 4.0 + 0.1 * t,
            "weight_decay": lambda t: 0.1 / (1 + t),
        },
        foreach_differs=True,
        takes_root=False,
        holds_float32=True,
    ),
}
