"""The model run, seed by seed, by this library's own rules."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.averages.averaged_optimizer import averaged_params
from funcsgd.noisy_quadratic.model import NoisyQuadratic, loss
from funcsgd.noisy_quadratic.rule import Rule, optimizer


class Simulation(NamedTuple):
    """Runs of one rule under several seeds.

    Attributes:
        risk: shape ``(n_seeds, n_steps - burn_in)``: the loss of the averaged parameters after each step that is kept.
        params: shape ``(n_seeds, d)``: the averaged parameters after the last step.
    """

    risk: jax.Array
    params: jax.Array


def simulate(
    key: jax.Array,
    model: NoisyQuadratic,
    rule: Rule,
    batch_size: ArrayLike,
    n_steps: int,
    n_seeds: int,
    burn_in: int = 0,
) -> Simulation:
    """Run a rule on the noisy quadratic model under many seeds at once.

    The rule is `optimizer`, the transformations that train a network, too: where a simulation and the theory agree,
    both are right. For many rules or batch sizes, vmap over them.

    Args:
        key: a random key; a seed's noise is ``fold_in(key, seed)``, so that more seeds leave the others as they are.
        model: of ``d`` coordinates.
        rule: scalars.
        batch_size: positive scalar.
        n_steps: positive.
        n_seeds: positive; seeds are independent: standard errors are those of means over them.
        burn_in: the first steps, whose risks are not kept.

    Returns:
        A `Simulation`.

    Example:
        >>> import jax
        >>> from funcsgd import noisy_quadratic as nq
        >>> model, rule = nq.from_spectrum([1.0, 0.1]), nq.Rule(0.5, momentum=0.5)
        >>> runs = nq.simulate(jax.random.key(0), model, rule, 4, n_steps=100, n_seeds=1000)
        >>> last, exact = runs.risk[:, -1], nq.risk_at(model, rule, 4, 100)
        >>> bool(abs(last.mean() - exact) < 3 * last.std(ddof=1) / 1000**0.5)
        True
    """
    tx = optimizer(rule, model.h)
    deviation = jnp.sqrt(model.c / batch_size)
    Carry = tuple[jax.Array, optax.OptState, jax.Array]

    def step(carry: Carry, _: None) -> tuple[Carry, jax.Array]:
        w, state, key = carry
        key, noise_key = jax.random.split(key)
        noise = deviation * jax.random.normal(noise_key, w.shape, w.dtype)
        updates, state = tx.update(model.h * (w - model.optimum) + noise, state, w)
        w = optax.apply_updates(w, updates)
        return (w, state, key), loss(model, averaged_params(state))

    def run(seed: jax.Array) -> Simulation:
        carry = model.start, tx.init(model.start), jax.random.fold_in(key, seed)
        carry = jax.lax.fori_loop(0, burn_in, lambda _, carry: step(carry, None)[0], carry)
        (_, state, _), risk = jax.lax.scan(step, carry, length=n_steps - burn_in)
        return Simulation(risk, averaged_params(state))

    return jax.vmap(run)(jnp.arange(n_seeds))
