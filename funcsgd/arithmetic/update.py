"""An update that has not been rounded yet: a product that waits for the parameters it is added to."""

from typing import Any

import jax
import jax.numpy as jnp

from funcsgd.arithmetic.exact import add_parts, difference_parts, fma, product_parts
from funcsgd.arithmetic.marks import rounded
from funcsgd.arithmetic.parts import by_parts


@jax.tree_util.register_pytree_node_class
class UnroundedUpdate:
    """A product or a difference, as two arrays whose sum it is; ``p + update`` rounds once.

    ``optax.apply_updates(params, updates)`` and ``jax.tree.map(operator.add, params, updates)`` take it as it is. To
    JAX it is a pytree of two leaves, so it passes through ``jit``, ``scan`` and ``vmap``, and what is linear may be
    done to both (a change of sign, a factor that is a power of two).

    Attributes:
        high: the product, rounded; shape of the parameters; float32, float64, or complex for a difference.
        low: what that rounding left over, of the same shape and dtype.

    Example:
        >>> import jax.numpy as jnp
        >>> third = UnroundedUpdate.product(jnp.float32(1 / 3), jnp.float32(-3))  # -1.00000003
        >>> float(jnp.float32(1) + third), float(third.high)
        (-2.9802322387695312e-08, -1.0)
    """

    def __init__(self, high: Any, low: Any) -> None:
        self._parts: tuple[Any, Any] | None = (high, low)
        # Quicker ways to the same sum, as long as it was not taken apart.
        self._factors: tuple[jax.Array, jax.Array] | None = None
        self._replaced: tuple[Any, jax.Array] | None = None

    @classmethod
    def product(cls, direction: jax.Array, step_size: jax.Array) -> "UnroundedUpdate":
        """``direction * step_size``, arrays of one dtype, float32 or float64; shapes broadcast."""
        update = cls(*product_parts(direction, step_size))
        update._factors = direction, step_size
        return update

    @classmethod
    def replacing(cls, params: jax.Array, new: jax.Array) -> "UnroundedUpdate":
        """The difference of two arrays of one dtype, float32, float64 or complex: ``params + update`` is ``new``.

        An ordinary array cannot guarantee that: where a parameter changes its sign, or many times its size, no number
        is the difference. The two parts of a sum's rounding always are.
        """
        update = cls(None, None)
        update._parts, update._replaced = None, (params, new)
        return update

    @property
    def high(self) -> Any:
        """The product, or the difference, rounded."""
        return self._both()[0]

    @property
    def low(self) -> Any:
        """The error of that rounding."""
        return self._both()[1]

    def _both(self) -> tuple[Any, Any]:
        if self._parts is not None:
            return self._parts
        assert self._replaced is not None
        params, new = self._replaced  # rarely used, so they are not calculated before
        high, low = by_parts(difference_parts, new, params)
        return high, low

    def __radd__(self, params: Any) -> jax.Array:
        """``fl(params + high + low)``, in one rounding: in the update's dtype, or the parameters' if wider."""
        if self._replaced is not None and params is self._replaced[0]:
            return self._replaced[1]
        params = jnp.asarray(params)
        dtype = jnp.result_type(params.dtype, self.dtype)
        if dtype != self.dtype:
            return jnp.asarray(params + self.high)
        params = rounded(params.astype(dtype))
        if self._factors is None:
            return jnp.asarray(by_parts(_sum, self.high, self.low, params)[0])
        return jnp.asarray(fma(*self._factors, params))

    @property
    def dtype(self) -> Any:
        """The dtype of ``high`` and ``low``."""
        return jnp.result_type(self.high)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``high`` and ``low``."""
        return jnp.shape(self.high)

    __array_ufunc__ = None  # so that NumPy's arrays leave the sum to this class

    def __repr__(self) -> str:
        return f"UnroundedUpdate(high={self.high!r}, low={self.low!r})"

    def tree_flatten(self) -> tuple[tuple[Any, Any], None]:
        """For JAX: the leaves are ``high`` and ``low``."""
        return (self.high, self.low), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: tuple[Any, Any]) -> "UnroundedUpdate":
        """For JAX."""
        del aux
        return cls(*children)


def _sum(high: jax.Array, low: jax.Array, params: jax.Array) -> tuple[jax.Array]:
    return (add_parts(high, low, params),)
