"""`Generator` for compiled programs: the host's, over a traced state."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec

import jax
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import DTypeLike

from torch_bridge.random.dtypes import Shape, as_dtype, as_shape
from torch_bridge.random.traced.integers import draw_integers
from torch_bridge.random.traced.mersenne_twister import TracedState, seeded
from torch_bridge.random.traced.normal import draw_normal
from torch_bridge.random.traced.permutation import draw_permutation
from torch_bridge.random.traced.uniform import draw_uniform

P = ParamSpec("P")


class Generator:
    """A stream that is read while a program is traced: it goes wherever a host generator may.

    So `torch_bridge.init` makes the initial weights of a hundred seeds in one program. It lives inside one trace: make
    it there, and carry its `state` out of a ``scan`` or a ``jit``, not itself.

    Args:
        seed: integer or integer array of no dimensions, traced or not; its low 32 bits count.

    Attributes:
        state: where the stream stands.

    Exactness: that of the functions of this package.

    Example:
        >>> import jax
        >>> from torch_bridge import init
        >>> weights = jax.vmap(lambda seed: init.linear(2, 1, generator=Generator(seed))["weight"])
        >>> weights(jax.numpy.arange(1))  # torch.manual_seed(0); torch.nn.Linear(2, 1).weight
        Array([[[-0.00529398,  0.3793229 ]]], dtype=float32)
    """

    def __init__(self, seed: ArrayLike) -> None:
        self.state = seeded(seed)

    def rand(self, *size: int, dtype: DTypeLike = np.float32) -> jax.Array:
        """``torch.rand``; see `draw_uniform`."""
        return self._draw(draw_uniform, size, 0.0, 1.0, as_dtype(dtype))

    def uniform(self, size: Shape, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32) -> jax.Array:
        """``torch.empty(size).uniform_(low, high)``; see `draw_uniform`."""
        return self._draw(draw_uniform, as_shape(size), low, high, as_dtype(dtype))

    def randn(self, *size: int, dtype: DTypeLike = np.float32) -> jax.Array:
        """``torch.randn``, of 16 numbers or more; see `draw_normal`."""
        return self._draw(draw_normal, size, 0.0, 1.0, as_dtype(dtype))

    def normal(self, mean: float, std: float, size: Shape, dtype: DTypeLike = np.float32) -> jax.Array:
        """``torch.normal(mean, std, size)``, of 16 numbers or more; see `draw_normal`."""
        return self._draw(draw_normal, as_shape(size), mean, std, as_dtype(dtype))

    def randint(self, low: int, high: int, size: Shape) -> jax.Array:
        """``torch.randint(low, high, size)``, in int32; see `draw_integers`."""
        return self._draw(draw_integers, low, high, as_shape(size))

    def randperm(self, n: int) -> jax.Array:
        """``torch.randperm``, in int32; see `draw_permutation`."""
        return self._draw(draw_permutation, n)

    def _draw(
        self,
        draw: Callable[Concatenate[TracedState, P], tuple[jax.Array, TracedState]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> jax.Array:
        values, self.state = draw(self.state, *args, **kwargs)
        return values
