"""The numbers of a recipe, and the right port of its rule, stage by stage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optax

from funcsgd import averages as funcsgd_averages
from tests.support.planted import stages


@dataclass(frozen=True)
class Numbers:
    """A recipe in numbers.

    Attributes:
        lr: the learning rate; with ``rates`` that of the first step.
        momentum: 0 without a buffer.
        dampening, nesterov: as torch's.
        betas, eps: of averages; None without.
        amsgrad: the largest average of squares is kept.
        decay: the weight decay.
        decoupled: it is AdamW's.
        spared: vectors do not decay.
        max_norm: the gradients' norm is limited; None is not.
        clip_value: each of their values is limited; None is not.
        order: of the norm.
        rates: the learning rate of each step, in a run with a schedule.
        epoch: how many steps a rate lasts, of a scheduler that is stepped with each epoch.
        ema: the decay of the average of parameters; None without, 0 of an equal one.
    """

    lr: float = 0.05
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] | None = None
    eps: float = 0.0
    amsgrad: bool = False
    decay: float = 0.0
    decoupled: bool = False
    spared: bool = False
    max_norm: float | None = None
    clip_value: float | None = None
    order: float = 2.0
    rates: tuple[float, ...] = ()
    epoch: int = 0
    ema: float | None = None

    @property
    def state(self) -> str:
        """The quantity in which a gradient shows first."""
        return "exp_avg" if self.betas else "momentum_buffer" if self.momentum else "parameter"


def decay(n: Numbers, value: float | None = None, mask: Any = None) -> optax.GradientTransformation:
    mask = mask or (stages.only(2) if n.spared else None)
    return optax.add_decayed_weights(n.decay if value is None else value, mask)


def inner(n: Numbers) -> optax.GradientTransformation | None:
    """The momentum or the averages."""
    if n.betas:
        return stages.averages(n.betas, n.eps, amsgrad=n.amsgrad)
    return stages.buffer(n.momentum, later=1 - n.dampening, nesterov=n.nesterov) if n.momentum else None


def average(n: Numbers) -> Any:
    """The average of parameters that follows."""
    if n.ema is None:
        return None
    return funcsgd_averages.ema(n.ema) if n.ema else funcsgd_averages.swa()


def rule(n: Numbers, **replaced: Any) -> optax.GradientTransformation:
    """The right port of a recipe, with some of its stages replaced; None leaves one out.

    Args:
        n: the recipe.
        replaced: ``clip``, ``decay``, ``inner``, ``decoupled``, ``rate``, and ``average``, which may be a function of
            the whole rule.
    """
    made: dict[str, Any] = {
        "clip": stages.clip(n.max_norm, order=n.order) if n.max_norm else optax.clip(n.clip_value) if n.clip_value
        else None,
        "decay": decay(n) if n.decay and not n.decoupled else None,
        "inner": inner(n),
        "decoupled": decay(n) if n.decay and n.decoupled else None,
        "rate": stages.rate(stages.rates(*n.rates) if n.rates else n.lr),
        "average": average(n),
    }  # fmt: skip
    assert not set(replaced) - set(made), replaced
    made |= replaced
    follows = made.pop("average")
    chain = optax.chain(*(each for each in made.values() if each is not None))
    if callable(follows):
        return follows(chain)
    return chain if follows is None else funcsgd_averages.with_average(chain, follows)


@dataclass(frozen=True)
class Planted:
    """A fault of a rule.

    Attributes:
        replaces: the stages that it replaces in the right port of a recipe, see `rule`.
        when: the recipes that can have it.
        shows: the quantities of which one is the first to show it: ``state`` is the one in which gradients show.
        step: the first step that shows it; a function of the recipe where it depends on it. Of clipping the gradients
            decide.
        leaves: the parameters that it is in: ``all``, those that ``decay``, ``vectors`` or ``matrices``.
    """

    replaces: Callable[[Numbers], dict[str, Any]]
    when: Callable[[Numbers], bool]
    shows: tuple[str, ...] = ("state",)
    step: int | Callable[[Numbers], int] = 0
    leaves: str = "all"

    def port(self, n: Numbers) -> optax.GradientTransformation:
        """The port of a recipe with this fault."""
        return rule(n, **self.replaces(n))
