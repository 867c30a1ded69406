"""Faults of loss and gradient, around a right ``loss(params, batch)`` or ``loss(params, batch, state)``."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp


def of_value(of: Callable[..., jax.Array]):
    """Another loss, ``of(loss, params, n)``."""

    def wrapped(loss):
        def wrong(params, batch, *state):
            out = loss(params, batch, *state)
            value = of(out[0] if state else out, params, batch[1].shape[0])
            return (value, out[1]) if state else value

        return wrong

    return wrapped


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _passing(of, params):
    return params


_passing.defvjp(
    lambda of, params: (params, params),
    lambda of, params, gradient: (jax.tree.map(of, gradient, params),),
)


def of_gradient(of: Callable[..., jax.Array]):
    """Another gradient, ``of(gradient, parameter, n)``; the loss is the same."""

    def wrapped(loss):
        def wrong(params, batch, *state):
            n = batch[1].shape[0]
            return loss(_passing(lambda g, p: of(g, p, n), params), batch, *state)

        return wrong

    return wrapped


def of_params(of: Callable[..., dict[str, jax.Array]]):
    """The loss at other parameters."""
    return lambda loss: lambda params, batch, *state: loss(of(params), batch, *state)


def smoothed(share: float, classes: int):
    """Labels of classes, smoothed."""

    def wrapped(loss):
        def wrong(params, batch, *state):
            x, y = batch
            each = [loss(params, (x, jnp.full_like(y, c)), *state) for c in range(classes)]
            own = loss(params, batch, *state)
            if not state:
                return (1 - share) * own + share * sum(each) / jnp.float32(classes)
            return (1 - share) * own[0] + share * sum(value for value, _ in each) / jnp.float32(classes), own[1]

        return wrong

    return wrapped


def penalty(of, when=lambda p: True):
    return of_value(lambda loss, params, n: loss + sum(of(p) for p in params.values() if when(p)))


def _frozen(params):
    """The first matrix is left out of the differentiation."""
    first = next(name for name, p in params.items() if p.ndim > 1)
    return {**params, first: jax.lax.stop_gradient(params[first])}


def _first_matrix_frozen(loss):
    def wrong(params, batch, *state):
        first = next(p.shape for p in params.values() if p.ndim > 1)
        return loss(_passing(lambda g, p: g * (p.shape != first), params), batch, *state)

    return wrong


LOSS = {
    "loss-summed": of_value(lambda loss, p, n: loss * n),
    "loss-halved": of_value(lambda loss, p, n: loss / 2),
    "loss-doubled": of_value(lambda loss, p, n: loss * 2),
    "loss-negated": of_value(lambda loss, p, n: -loss),
    "loss-in-bits": of_value(lambda loss, p, n: loss / jnp.log(2.0)),
    "loss-scaled": of_value(lambda loss, p, n: loss * 1.25),
    "loss-shifted": of_value(lambda loss, p, n: loss + 0.25),
    "l2-in-loss": penalty(lambda p: 0.01 * (p**2).sum()),
    "l2-of-matrices-in-loss": penalty(lambda p: 0.01 * (p**2).sum(), lambda p: p.ndim > 1),
    "l1-in-loss": penalty(lambda p: 0.01 * jnp.abs(p).sum()),
}
"""Entry -> from the right loss function to that with the fault; it shows in the loss first."""
LABELLED = {"label-smoothing": lambda classes: smoothed(1 / 16, classes)}
"""Likewise, of a number of classes."""
OF_TARGETS = {
    "loss-summed-over-targets": of_value(lambda loss, p, n: loss * 3),
    "loss-summed-over-all": of_value(lambda loss, p, n: loss * n * 3),
}
"""Likewise, of a mean over three targets of each example."""
GRADIENT = {
    "gradient-negated": of_gradient(lambda g, p, n: -g),
    "gradient-summed": of_gradient(lambda g, p, n: g * n),
    "gradient-averaged": of_gradient(lambda g, p, n: g / n),
    "gradient-scaled": of_gradient(lambda g, p, n: 1.5 * g),
    "decay-in-gradient": of_gradient(lambda g, p, n: g + 0.01 * p),
}
"""Likewise; it shows in the gradients of all parameters."""
FROZEN = {"gradient-stopped": of_params(_frozen), "parameters-frozen": _first_matrix_frozen}
"""Likewise; it shows in the gradient of the first matrix."""


def narrow(dtype):
    """The parameters pass through a narrow type."""
    return of_params(lambda params: {k: p.astype(dtype).astype(p.dtype) for k, p in params.items()})


NARROW = {
    "float16-inside": narrow(jnp.float16),
    "bfloat16-inside": narrow(jnp.bfloat16),
    "precision-reduced": of_params(lambda params: {k: jax.lax.reduce_precision(p, 8, 10) for k, p in params.items()}),
}
"""Likewise; the function is the same, computed worse."""
