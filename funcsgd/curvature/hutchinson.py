"""The diagonal of a Hessian, estimated by Hessian-vector products along random signs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcsgd.curvature.derivatives import hvp


def hutchinson_diagonal(
    value_fn: Callable[..., Any], params: Any, key: jax.Array, n_probes: int = 1, *, has_aux: bool = False
) -> Any:
    """Estimate the diagonal of a Hessian by Hessian-vector products along random signs.

    Equation, with the Hessian ``H`` of ``value_fn`` at ``params`` and Rademacher vectors ``v`` of +1 and -1::

        e = mean over probes of v * (H v)

    The expectation is ``diag(H)``. The variance of element ``i`` is the sum of ``H[i, j]**2`` over ``j != i``, divided
    by ``n_probes``: for a diagonal Hessian one probe is exact.

    Args:
        value_fn: scalar-valued function of the parameters.
        params: pytree of real floating arrays.
        key: a random key.
        n_probes: number of Hessian-vector products. They run one after the other, in the memory of one.
        has_aux: ``value_fn`` returns ``(value, aux)``; the second is ignored.

    Returns:
        A pytree like ``params``.

    Exactness: `rounding`, for given probes.

    Source: Bekas, Kokiopoulou and Saad 2007, "An estimator for the diagonal of a matrix", Applied Numerical
    Mathematics 57.

    Example:
        >>> import jax.numpy as jnp
        >>> hutchinson_diagonal(lambda w: (w**3).sum(), jnp.array([1.0, 2.0]), jax.random.key(0))  # 6 w
        Array([ 6., 12.], dtype=float32)
    """

    def probe(key: jax.Array) -> Any:
        v = optax.tree.random_like(key, params, jax.random.rademacher)
        product = hvp(value_fn, params, v, has_aux=has_aux)
        return jax.tree.map(jnp.multiply, v, product[0] if has_aux else product)

    if n_probes == 1:
        return probe(key)
    return jax.tree.map(lambda x: jnp.mean(x, 0), jax.lax.map(probe, jax.random.split(key, n_probes)))
