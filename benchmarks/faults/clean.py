"""Right ports, written in several ways: none of them may be accused."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

import funcsgd
from benchmarks.faults.port import Port
from benchmarks.faults.recipe import Recipe
from benchmarks.faults.singles import order_of, right
from funcsgd import averages
from tests.support.planted import stages
from tests.support.planted.numbers import Numbers


def by_funcsgd(n: Numbers) -> optax.GradientTransformation:
    """The rule of this library."""
    rate = stages.rates(*n.rates) if n.rates else n.lr

    def inner(decay: float) -> optax.GradientTransformation:
        if n.betas and n.decoupled:
            return funcsgd.adamw(rate, n.betas, n.eps, decay)
        if n.betas:
            return funcsgd.adam(rate, n.betas, n.eps, decay)
        return funcsgd.sgd(rate, n.momentum, n.dampening, decay, n.nesterov)

    def groups(params: Any) -> Any:
        return jax.tree.map(lambda p: "decays" if p.ndim > 1 else "spared", params)

    rule = optax.partition({"decays": inner(n.decay), "spared": inner(0.0)}, groups) if n.spared else inner(n.decay)
    clip = funcsgd.clip_grad_norm(n.max_norm) if n.max_norm else None
    clip = funcsgd.clip_grad_value(n.clip_value) if n.clip_value else clip
    rule = rule if clip is None else optax.chain(clip, rule)
    return rule if n.ema is None else averages.with_average(rule, averages.ema(n.ema, lerp=True))


def by_optax(n: Numbers) -> optax.GradientTransformation | None:
    """Parts of optax, as far as they are torch's."""
    rate = optax.piecewise_constant_schedule(n.lr, {3: 0.5, 6: 0.5}) if n.epoch else n.lr
    if n.dampening or (n.rates and not n.epoch and not n.decoupled):
        return None
    rate = stages.rates(*n.rates) if n.rates and not n.epoch else rate
    clip = [stages.clip(n.max_norm)] if n.max_norm else []
    if n.decoupled:
        mask = stages.only(2) if n.spared else None
        return optax.chain(*clip, optax.adamw(rate, *n.betas, n.eps, weight_decay=n.decay, mask=mask))
    own = optax.adam(rate, *n.betas, n.eps) if n.betas else optax.sgd(rate, n.momentum, n.nesterov)
    return optax.chain(*clip, optax.add_decayed_weights(n.decay), own)


def by_example(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The loss of each example by itself, and their mean."""

    def loss_fn(params: Any, batch: Any) -> jax.Array:
        return jnp.mean(jax.vmap(lambda x, y: loss(params, (x[None], y[None])))(*batch))

    return loss_fn


def clean(recipe: Recipe) -> Iterator[Port]:
    """Yield right ports."""
    n, loss = recipe.numbers, recipe.right_loss
    ways: dict[str, dict[str, Any]] = {
        "by hand": {},
        "funcsgd": {"tx": by_funcsgd(n)},
        "jitted, torch's order": {"loss_fn": jax.jit(loss), "order": order_of(recipe)},
        "recomputed": {"loss_fn": jax.checkpoint(loss), "tx": by_funcsgd(n)},
    }
    if (tx := by_optax(n)) is not None:
        ways["optax"] = {"tx": tx}
    if not recipe.buffers:
        ways["example by example"] = {"loss_fn": by_example(loss)}
    for name, changed in ways.items():
        yield Port(
            f"{recipe.name}, {name}", (), (), (), lambda: recipe.trace, lambda changed=changed: right(recipe, **changed)
        )
