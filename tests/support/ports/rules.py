"""Torch's SGD recipes as plain optax chains, and the same chains with one constant off.

``recipe.torch(params)`` is the script's side, ``recipe.optax(constants)`` the porter's. Given the same gradients both
are the same function; `wrong` makes one constant a little larger.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import optax
import torch


@dataclasses.dataclass(frozen=True)
class Constants:
    """What a recipe is told; 0.0 and None stand for absent."""

    learning_rate: float = 0.05
    momentum: float = 0.0
    weight_decay: float = 0.0
    max_norm: float | None = None
    nesterov: bool = False


Scheduler = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


@dataclasses.dataclass(frozen=True)
class Rules:
    """Torch's side of one run."""

    optimizer: torch.optim.SGD
    scheduler: torch.optim.lr_scheduler.LRScheduler | None
    parameters: list[torch.Tensor]
    max_norm: float | None

    def step(self) -> None:
        """What a loop does after backward()."""
        if self.max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One recipe on both sides; ``schedule`` makes optax's schedule from the first rate, counted in steps from 0."""

    constants: Constants
    scheduler: Scheduler | None = None
    schedule: Callable[[float], optax.Schedule] | None = None

    def torch(self, parameters: Iterable[torch.Tensor]) -> Rules:
        """Torch's optimizer, scheduler and clipping."""
        of = self.constants
        parameters = list(parameters)
        optimizer = torch.optim.SGD(
            parameters, of.learning_rate, of.momentum, weight_decay=of.weight_decay, nesterov=of.nesterov
        )
        scheduler = None if self.scheduler is None else self.scheduler(optimizer)
        return Rules(optimizer, scheduler, parameters, of.max_norm)

    def optax(self, constants: Constants | None = None, *, wide: bool = False) -> optax.GradientTransformation:
        """The plain chain; `constants` in place of the recipe's own are a fault.

        `wide` counts steps in float64: optax divides an int32 count, which jax makes float32 in x64 mode too.
        """
        of = constants or self.constants
        rate = of.learning_rate if self.schedule is None else self.schedule(of.learning_rate)
        if wide and callable(rate):
            rate = in_float64(rate)
        return optax.chain(
            optax.identity() if of.max_norm is None else clip_as_torch(of.max_norm),
            optax.add_decayed_weights(of.weight_decay) if of.weight_decay else optax.identity(),
            optax.inject_hyperparams(optax.sgd, static_args=("nesterov",))(
                learning_rate=rate, momentum=of.momentum, nesterov=of.nesterov
            )
            if of.momentum
            else optax.inject_hyperparams(optax.sgd)(learning_rate=rate),
        )

    def wrong(self, relative: float) -> Mapping[str, Constants]:
        """One constant at a time, larger by a factor of ``1 + relative``."""
        names = ("learning_rate", "momentum", "weight_decay", "max_norm")
        return {
            name: dataclasses.replace(self.constants, **{name: getattr(self.constants, name) * (1 + relative)})
            for name in names
            if getattr(self.constants, name)
        }


def in_float64(schedule: optax.Schedule) -> optax.Schedule:
    """The schedule of a count in float64."""
    return lambda count: schedule(jnp.asarray(count, jnp.float64))


def clip_as_torch(max_norm: float) -> optax.GradientTransformation:
    """``clip_grad_norm_``: optax's `clip_by_global_norm` lacks torch's 1e-6 under the division."""

    def clip(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        factor = jnp.minimum(max_norm / (optax.tree.norm(updates) + 1e-6), 1.0)
        return jax.tree.map(lambda g: g * factor, updates)

    return optax.stateless(clip)


_lr = torch.optim.lr_scheduler
_HEAVY = Constants(momentum=0.9, weight_decay=5e-4)

RECIPES: dict[str, Recipe] = {
    "plain": Recipe(Constants()),
    "decay": Recipe(Constants(weight_decay=5e-4)),
    "momentum": Recipe(Constants(momentum=0.9)),
    "momentum, decay": Recipe(_HEAVY),
    "nesterov": Recipe(Constants(momentum=0.9, nesterov=True)),
    "nesterov, decay": Recipe(dataclasses.replace(_HEAVY, nesterov=True)),
    "clip": Recipe(Constants(max_norm=0.5)),
    "clip, momentum, decay": Recipe(dataclasses.replace(_HEAVY, max_norm=0.5)),
    "step schedule": Recipe(
        _HEAVY,
        lambda optimizer: _lr.MultiStepLR(optimizer, [3, 6], 0.2),
        lambda rate: optax.piecewise_constant_schedule(rate, {3: 0.2, 6: 0.2}),
    ),
    "exponential schedule": Recipe(
        _HEAVY, lambda optimizer: _lr.ExponentialLR(optimizer, 0.9), lambda rate: optax.exponential_decay(rate, 1, 0.9)
    ),
    "cosine schedule": Recipe(
        _HEAVY,
        lambda optimizer: _lr.CosineAnnealingLR(optimizer, 20),
        lambda rate: optax.cosine_decay_schedule(rate, 20),
    ),
    "warm-up": Recipe(
        dataclasses.replace(_HEAVY, nesterov=True),
        lambda optimizer: _lr.LinearLR(optimizer, 0.1, 1.0, 5),
        lambda rate: optax.linear_schedule(0.1 * rate, rate, 5),
    ),
}
