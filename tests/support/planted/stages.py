"""The stages of an update rule as a porter would write them: in plain optax, and by hand."""

import jax
import jax.numpy as jnp
import optax


def clip(max_norm, eps=1e-6, order=2):
    def update(updates, params=None):
        norm = jnp.linalg.norm(jnp.stack([jnp.linalg.norm(g.ravel(), order) for g in jax.tree.leaves(updates)]), order)
        return jax.tree.map(lambda g: g * jnp.minimum(max_norm / (norm + eps), 1.0), updates)

    return optax.stateless(update)


def clip_each(max_norm, eps=1e-6):
    """Each leaf by its own norm; without ``eps`` as ``optax.clip_by_block_rms`` and its kind do."""

    def clipped(g, p):
        if eps:
            return g * jnp.minimum(max_norm / (jnp.linalg.norm(g.ravel()) + eps), 1.0)
        return g / jnp.maximum(jnp.linalg.norm(g.ravel()) / max_norm, 1.0)

    return stage(clipped)


def stage(function):
    """A stage without state: ``function(g, p)`` for each leaf."""
    return optax.stateless(lambda updates, params: jax.tree.map(function, updates, params))


def rate(value):
    return optax.scale_by_learning_rate(value)


def rates(*values):
    """A schedule of numbers, the last from then on."""
    return lambda count: jnp.asarray(values, jnp.float32)[jnp.minimum(count, len(values) - 1)]


def only(ndim):
    """A mask of parameters with so many axes; of those with more than one for 2."""
    return lambda params: jax.tree.map(lambda p: min(p.ndim, 2) == ndim, params)


def buffer(momentum, first=1.0, later=1.0, nesterov=False, sign=1.0, old=False):
    """A buffer of gradients; ``first`` and ``later`` are the weights with which gradients enter."""

    def init(params):
        return optax.TraceState(jax.tree.map(jnp.zeros_like, params)), jnp.array(True)

    def update(updates, state, params=None):
        trace, is_first = state
        weight = jnp.where(is_first, first, later)
        new = jax.tree.map(lambda g, b: sign * momentum * b + weight * g, updates, trace.trace)
        out = jax.tree.map(lambda g, b: g + momentum * b, updates, new) if nesterov else new
        return trace.trace if old else out, (optax.TraceState(new), jnp.array(False))

    return optax.GradientTransformation(init, update)


def averages(
    betas, eps, corrected=(True, True), shift=0, quotient=None, first=None, second=None, correct_max=False,
    amsgrad=False,
):  # fmt: skip
    """Averages of gradients and of squares, written out."""
    quotient = quotient or (lambda m, v, c1, c2: m / c1 / (jnp.sqrt(v / c2) + eps))
    first = first or (lambda m, g: betas[0] * m + (1 - betas[0]) * g)
    second = second or (lambda v, g, m: betas[1] * v + (1 - betas[1]) * g**2)

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        count = jnp.zeros((), jnp.int32)
        if amsgrad:
            return optax.ScaleByAmsgradState(count, zeros, zeros, zeros)
        return optax.ScaleByAdamState(count, zeros, zeros)

    def update(updates, state, params=None):
        count = state.count + 1
        t = jnp.maximum(count + shift, 1)
        c = [1 - b**t if on else 1.0 for b, on in zip(betas, corrected, strict=True)]
        mu = jax.tree.map(first, state.mu, updates)
        nu = jax.tree.map(second, state.nu, updates, mu)
        if not amsgrad:
            out = jax.tree.map(lambda m, v: quotient(m, v, *c), mu, nu)
            return out, optax.ScaleByAdamState(count, mu, nu)
        largest = jax.tree.map(lambda a, v: jnp.maximum(a, v / c[1] if correct_max else v), state.nu_max, nu)
        out = jax.tree.map(lambda m, v: quotient(m, v, c[0], 1.0 if correct_max else c[1]), mu, largest)
        return out, optax.ScaleByAmsgradState(count, mu, nu, largest)

    return optax.GradientTransformation(init, update)
