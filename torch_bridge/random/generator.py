"""`Generator`: torch's CPU generator without torch, and the default one that torch keeps for the whole process."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from torch_bridge.random.bernoulli_numbers import draw_bernoulli, draw_bernoulli_each, draw_dropout_mask
from torch_bridge.random.dtypes import MemoryOrder, Shape
from torch_bridge.random.exponential import draw_exponential
from torch_bridge.random.integers import draw_any_integers, draw_integers
from torch_bridge.random.mersenne_twister import DEFAULT_SEED, State, seeded
from torch_bridge.random.multinomial_numbers import draw_multinomial
from torch_bridge.random.normal_numbers import draw_normal
from torch_bridge.random.permutation import draw_permutation
from torch_bridge.random.torch_state import from_bytes, to_bytes
from torch_bridge.random.uniform import draw_uniform

P = ParamSpec("P")
T = TypeVar("T")


class Generator:
    """A stream of random numbers equal to that of ``torch.Generator().manual_seed(seed)``.

    It holds one immutable `State` and calls the pure functions of this package on it. A method is named after the
    torch function whose numbers it gives; arrays are NumPy's.

    Args:
        seed: integer in ``[-2**63, 2**64)``; torch's default seed if not given.

    Attributes:
        state: where the stream stands. May be read, kept and assigned: a state never changes.

    Exactness: that of the functions called; see each.

    Differs from ``torch.Generator`` in: (1) it draws, where torch passes it to functions that draw; (2) ``state``.

    Example:
        >>> Generator(0).rand(2)  # torch.rand(2, generator=torch.Generator().manual_seed(0))
        array([0.4962566, 0.7682218], dtype=float32)
    """

    def __init__(self, seed: int = DEFAULT_SEED) -> None:
        self.state = seeded(seed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(seed={self.state.seed}, position={self.state.position})"

    def manual_seed(self, seed: int) -> Self:
        """Start the stream of a seed, drop the cached normal, and return self."""
        self.state = seeded(seed)
        return self

    def initial_seed(self) -> int:
        """Return the seed of the stream, in ``[0, 2**64)``."""
        return self.state.seed

    def seed(self) -> int:
        """Start the stream of a seed of 53 bits from the operating system, and return that seed."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little") & (2**53 - 1))
        return self.state.seed

    def get_state(self) -> NDArray[np.uint8]:
        """Return the state as torch's 5056 bytes; see `torch_bridge.random.torch_state.to_bytes`."""
        return to_bytes(self.state)

    def set_state(self, new_state: ArrayLike | bytes) -> Self:
        """Continue where torch, or `get_state`, stood; see `torch_bridge.random.torch_state.from_bytes`."""
        self.state = from_bytes(new_state)
        return self

    def clone_state(self) -> "Generator":
        """Return another generator in the same state."""
        clone = Generator()
        clone.state = self.state
        return clone

    def rand(self, *size: Shape, dtype: DTypeLike = np.float32, memory_order: MemoryOrder = None) -> NDArray[Any]:
        """``torch.rand``; see `draw_uniform`."""
        return self._draw(draw_uniform, _size(size), 0.0, 1.0, dtype, memory_order)

    def uniform(
        self,
        size: Shape,
        low: float = 0.0,
        high: float = 1.0,
        dtype: DTypeLike = np.float32,
        memory_order: MemoryOrder = None,
    ) -> NDArray[Any]:
        """``torch.empty(size).uniform_(low, high)``; see `draw_uniform`."""
        return self._draw(draw_uniform, size, low, high, dtype, memory_order)

    def randn(self, *size: Shape, dtype: DTypeLike = np.float32, memory_order: MemoryOrder = None) -> NDArray[Any]:
        """``torch.randn``; see `draw_normal`."""
        return self._draw(draw_normal, _size(size), 0.0, 1.0, dtype, memory_order)

    def normal(
        self,
        mean: float,
        std: float,
        size: Shape,
        dtype: DTypeLike = np.float32,
        memory_order: MemoryOrder = None,
    ) -> NDArray[Any]:
        """``torch.normal(mean, std, size)`` and ``torch.empty(size).normal_(mean, std)``; see `draw_normal`."""
        return self._draw(draw_normal, size, mean, std, dtype, memory_order)

    def randint(
        self,
        low: int,
        high: int | None = None,
        size: Shape | None = None,
        dtype: DTypeLike = np.int64,
        memory_order: MemoryOrder = None,
    ) -> NDArray[Any]:
        """``torch.randint(low, high, size)``, or ``torch.randint(high, size)`` by ``size=``; see `draw_integers`."""
        if size is None:
            raise TypeError("randint() received an invalid combination of arguments: size is missing")
        low, high = (0, low) if high is None else (low, high)
        return self._draw(draw_integers, low, high, size, dtype, memory_order)

    def random(
        self,
        size: Shape = (),
        low: int | None = None,
        high: int | None = None,
        dtype: DTypeLike = np.int64,
        memory_order: MemoryOrder = None,
    ) -> NDArray[Any]:
        """``torch.empty(size, dtype=dtype).random_(...)``; see `draw_any_integers` and `draw_integers`.

        Args:
            size: shape; one number by default.
            low: alone it is torch's ``random_(to)``, the bound above, from 0; with `high` it is the least value.
            high: the bound above, not reached.
            dtype: see `draw_integers`.
            memory_order: see `torch_bridge.random.dtypes.dimension_order`.
        """
        if low is None and high is None:
            return self._draw(draw_any_integers, size, dtype, memory_order)
        low, high = (0, low) if high is None else (low or 0, high)
        return self._draw(draw_integers, low, high, size, dtype, memory_order)

    def randperm(self, n: int, dtype: DTypeLike = np.int64) -> NDArray[Any]:
        """``torch.randperm``; see `draw_permutation`."""
        return self._draw(draw_permutation, n, dtype)

    def bernoulli(
        self,
        p: ArrayLike,
        size: Shape | None = None,
        dtype: DTypeLike = np.float32,
        memory_order: MemoryOrder = None,
    ) -> NDArray[Any]:
        """``torch.bernoulli(p)`` for an array; with a size, ``torch.empty(size).bernoulli_(p)``.

        See `draw_bernoulli_each` and `draw_bernoulli`: the two draw different numbers.
        """
        if size is None:
            return self._draw(draw_bernoulli_each, p)
        return self._draw(draw_bernoulli, float(np.asarray(p)), size, dtype, memory_order)

    def dropout_mask(
        self,
        size: Shape,
        p: float = 0.5,
        dtype: DTypeLike = np.float32,
        memory_order: MemoryOrder = None,
    ) -> NDArray[Any]:
        """The factors of ``torch.nn.functional.dropout``; see `draw_dropout_mask`."""
        return self._draw(draw_dropout_mask, size, p, dtype, memory_order)

    def exponential(
        self,
        size: Shape,
        rate: float = 1.0,
        dtype: DTypeLike = np.float32,
        memory_order: MemoryOrder = None,
    ) -> NDArray[Any]:
        """``torch.empty(size).exponential_(rate)``; see `draw_exponential`."""
        return self._draw(draw_exponential, size, rate, dtype, memory_order)

    def multinomial(self, weights: ArrayLike, num_samples: int, replacement: bool = False) -> NDArray[np.int64]:
        """``torch.multinomial``; see `draw_multinomial`."""
        return self._draw(draw_multinomial, weights, num_samples, replacement)

    def _draw(self, draw: Callable[Concatenate[State, P], tuple[T, State]], *args: P.args, **kwargs: P.kwargs) -> T:
        values, self.state = draw(self.state, *args, **kwargs)
        return values


def _size(size: Sequence[Shape]) -> Shape:
    """Read ``f(2, 3)`` and ``f((2, 3))`` alike."""
    if len(size) == 1:
        return size[0]
    return tuple(int(n) for n in size)  # type: ignore[arg-type]


default_generator = Generator()


def check_generator(name: str, generator: Any) -> None:
    """Raise TypeError for a generator of another library, such as torch's.

    Args:
        name: what was given the generator.
        generator: one of ours, or None.
    """
    if generator is not None and not isinstance(generator, Generator):
        kind = f"{type(generator).__module__}.{type(generator).__qualname__}"
        raise TypeError(
            f"{name} draws from a torch_bridge.random.Generator, but got a {kind}: "
            "Generator(seed) has the stream of torch.Generator().manual_seed(seed), and "
            "Generator().set_state(generator.get_state()) goes on where one of torch's stands"
        )


# torch's own names for what the default generator draws; see the methods.
rand = default_generator.rand
randn = default_generator.randn
randint = default_generator.randint
randperm = default_generator.randperm
normal = default_generator.normal
bernoulli = default_generator.bernoulli
multinomial = default_generator.multinomial


def manual_seed(seed: int) -> Generator:
    """``torch.manual_seed``: start the default generator's stream anew, and return that generator.

    Args:
        seed: anything that ``int`` accepts, in ``[-2**63, 2**64)``.
    """
    return default_generator.manual_seed(int(seed))


def initial_seed() -> int:
    """``torch.initial_seed``: the default generator's seed."""
    return default_generator.initial_seed()


def seed() -> int:
    """``torch.seed``: seed the default generator from the operating system, and return the seed."""
    return default_generator.seed()


def get_rng_state() -> NDArray[np.uint8]:
    """``torch.get_rng_state``: the default generator's 5056 bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: ArrayLike | bytes) -> None:
    """``torch.set_rng_state``: continue the default generator from 5056 bytes."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(enabled: bool = True) -> Iterator[None]:
    """``torch.random.fork_rng``: give the default generator its state back at the end.

    Args:
        enabled: False makes it do nothing.

    Example:
        >>> before = default_generator.state
        >>> with fork_rng():
        ...     _ = default_generator.rand(3)
        >>> default_generator.state is before
        True
    """
    before = default_generator.state
    try:
        yield
    finally:
        if enabled:
            default_generator.state = before
