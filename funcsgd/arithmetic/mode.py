"""Which arithmetic the rules are traced with: left to the compiler and marked, or exact by construction."""

from contextlib import AbstractContextManager
from typing import Any

import jax

_exact: Any = jax.make_user_context(default_value=False)  # type: ignore[no-untyped-call]


def exact_arithmetic() -> AbstractContextManager[Any]:
    """Let every rule of this library round as torch does whatever the compiler does, where this is in force.

    By default ``a * b + c`` is written as such and marked, and the class `bitwise` depends on the compiler fusing it:
    the faster way, and one that no compiler promises. In here it is calculated in operations that can be done in one
    way only: float32 by way of float64 and rounding to odd, float64 by way of split products. It holds under ``jit``,
    ``scan``, ``vmap``, ``grad``, ``shard_map`` and eagerly, in JAX's 32-bit mode too, with a compiler that does not
    fuse, and with ``optax.apply_updates`` outside of the ``jit``.

    It is read where a rule is traced or runs eagerly; it is part of JAX's cache keys, so that a function compiled
    outside is compiled anew inside. Under it a rule's last stage returns `UnroundedUpdate` instead of arrays. A wrapper
    that reads updates or chooses between them by ``lax.cond``, such as ``optax.apply_if_finite``,
    ``optax.conditionally_transform`` or ``optax.keep_params_nonnegative``, cannot take those and raises a TypeError:
    put it around the stages before `scale_by_learning_rate`.

    Returns:
        A context manager.

    Exactness: bitwise against torch's CPU kernels for float32 and float64, on every backend whose single additions and
    multiplications are those of IEEE 754. Subnormal numbers apart.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from funcsgd import sgd
        >>> p, g = jnp.array([1.0, 2.0]), jnp.array([0.1, 0.7])
        >>> tx = sgd(0.1)
        >>> with exact_arithmetic():  # no jit: two operations, and yet one rounding
        ...     updates, state = tx.update(g, tx.init(p), p)
        ...     p = optax.apply_updates(p, updates)
        >>> p
        Array([0.99, 1.93], dtype=float32)
    """
    context: AbstractContextManager[Any] = _exact(True)
    return context


def is_exact() -> bool:
    """Whether `exact_arithmetic` is in force."""
    return bool(_exact.value)
