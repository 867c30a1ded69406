"""The noisy quadratic model: a diagonal quadratic whose gradients come with Gaussian noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


class NoisyQuadratic(NamedTuple):
    """A quadratic loss, the noise of its gradients, and where a run starts; made by `from_spectrum`, `power_law`.

    The loss is ``0.5 * sum(h * (w - optimum)**2)``. A gradient from a batch of size B is
    ``h * (w - optimum) + noise``, with ``noise`` normal, independent in every coordinate and step, of variance
    ``c / B``. A diagonal is no restriction: every method here but a power of the diagonal commutes with rotations.

    Attributes:
        h: shape ``(d,)``, floating: the curvatures, positive.
        c: shape ``(d,)``: the variance of one example's gradient.
        optimum: shape ``(d,)``: where the loss is least, 0.
        start: shape ``(d,)``: the first parameters.
    """

    h: jax.Array
    c: jax.Array
    optimum: jax.Array
    start: jax.Array


def from_spectrum(
    h: ArrayLike, c: ArrayLike | None = None, optimum: ArrayLike = 0.0, start: ArrayLike = 1.0
) -> NoisyQuadratic:
    """Return the model with given curvatures.

    Args:
        h: shape ``(d,)``: positive curvatures. Its dtype, made floating, is the dtype of everything calculated from
            the model. In float32 the steady state keeps five digits; risks along a run are off by about 3e-8 for each
            step, until they are steady.
        c: scalar or shape ``(d,)``: the gradient's variance for a batch of one. None is ``h``, as in the paper, where
            noise and curvature are those of a log-likelihood.
        optimum: scalar or shape ``(d,)``. It matters with weight decay only.
        start: scalar or shape ``(d,)``. A random start enters expected risks by its second moment alone: 1 is
            the paper's standard normal start, too.

    Returns:
        A `NoisyQuadratic`.

    Raises:
        ValueError: outside ``jit``, for an ``h`` that is no vector or not positive, or a negative ``c``.

    Source: Zhang et al. 2019, arXiv:1907.04164, section 3.

    Example:
        >>> from funcsgd import noisy_quadratic as nq
        >>> model = nq.from_spectrum([4.0, 1.0])
        >>> float(nq.loss(model, model.start))
        2.5
    """
    h = jnp.asarray(h)
    h = h if jnp.issubdtype(h.dtype, jnp.floating) else h.astype(float)
    if h.ndim != 1:
        raise ValueError(f"h must be a vector of curvatures, but has shape {h.shape}; to study several, vmap over it")
    c = h if c is None else jnp.asarray(c, h.dtype)
    for name, x, bound in (("h", h, "positive"), ("c", c, "non-negative")):
        if not isinstance(x, jax.core.Tracer) and not np.all(x > 0 if name == "h" else x >= 0):
            raise ValueError(f"{name} must be {bound}, but has a minimum of {np.min(x)}")
    return NoisyQuadratic(h, *(jnp.broadcast_to(jnp.asarray(x, h.dtype), h.shape) for x in (c, optimum, start)))


def power_law(dimension: int, exponent: float = 1.0) -> NoisyQuadratic:
    """Return the model of the paper: ``h[i] = c[i] = (i + 1)**-exponent``, from a start of 1.

    Args:
        dimension: the number of coordinates; 10,000 in the paper.
        exponent: how fast the spectrum falls; 1 in the paper.

    Returns:
        A `NoisyQuadratic` in JAX's default floating dtype.

    Source: Zhang et al. 2019, arXiv:1907.04164, section 3.

    Example:
        >>> from funcsgd import noisy_quadratic as nq
        >>> nq.power_law(4).h
        Array([1.        , 0.5       , 0.33333334, 0.25      ], dtype=float32)
    """
    return from_spectrum(np.arange(1, dimension + 1) ** -float(exponent))


def loss(model: NoisyQuadratic, w: jax.Array) -> jax.Array:
    """Return the risk of parameters ``w`` without its noise: ``0.5 * sum(h * (w - optimum)**2)``.

    Args:
        model: of ``d`` coordinates.
        w: shape ``(..., d)``.

    Returns:
        Shape ``(...)``.
    """
    return 0.5 * jnp.sum(model.h * (w - model.optimum) ** 2, -1)
