"""Complex arrays as pairs of real ones, as torch's rules take them with ``torch.view_as_real``."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def by_parts(function: Callable[..., tuple[Any, ...]], *arrays: Any) -> tuple[Any, ...]:
    """Apply a function of real arrays; to complex ones, to the real and to the imaginary parts.

    Args:
        function: from arrays of real dtype, or None, to a tuple of such.
        arrays: all real or all complex; None stays None.

    Returns:
        What the function returns, complex where the arrays are.
    """
    if not any(jnp.iscomplexobj(x) for x in arrays if x is not None):
        return function(*arrays)
    real = function(*(None if x is None else x.real for x in arrays))
    imag = function(*(None if x is None else x.imag for x in arrays))
    return tuple(None if a is None else jax.lax.complex(a, b) for a, b in zip(real, imag, strict=True))
