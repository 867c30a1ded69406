"""torch's square root: correctly rounded, or the one of the library that a torch calls on its processor.

On CPU ``torch.sqrt`` is that of Intel's MKL, which is not correctly rounded everywhere, and differs from one set of
instructions to another. For float32 it is a function of the significand and of the exponent's parity alone, never more
than one number away from the correct root. So a root is a table of 2**24 corrections.
"""

import functools
from importlib import resources
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from funcsgd.arithmetic.elementwise import compute_dtype

N_CASES = 1 << 24  # float32 numbers in [1, 4): every significand, both parities of the exponent
_PER_WORD = 16  # corrections of two bits in a uint32


@jax.tree_util.register_pytree_node_class
class SquareRoot:
    """A square root that a torch has, in float32. In float64 every root is the correctly rounded one.

    `torch_bridge.torch_root` measures the one of the torch that is installed; ``"correct"`` and ``"mkl_avx512"`` name
    two that need no torch.

    Attributes:
        name: ``"correct"``, ``"mkl_avx512"``, or what it was called when it was measured.
        words: uint32, shape ``(2**20,)``: 16 signed corrections of two bits in each, that of the first number in the
            lowest bits; None for no corrections. The numbers are those of [1, 4), in order.
    """

    def __init__(self, name: str, words: Any = None) -> None:
        self.name, self.words = name, words

    @classmethod
    def from_corrections(cls, name: str, corrections: np.ndarray) -> "SquareRoot":
        """Make one from ``torch's root - correct root``, in units of the last place, for every float32 in [1, 4).

        Args:
            name: what to call it.
            corrections: integers from -1 to 1, shape ``(2**24,)``.

        Raises:
            ValueError: another shape, or a correction of more than one unit.
        """
        if corrections.shape != (N_CASES,) or np.abs(corrections).max() > 1:
            raise ValueError(
                f"a root needs {N_CASES} corrections from -1 to 1, but got shape {corrections.shape} with "
                f"{int(corrections.min())} to {int(corrections.max())}"
            )
        if not corrections.any():
            return cls(name)
        codes = (corrections.astype(np.int8).view(np.uint8) & 3).reshape(-1, 4)  # four to a byte, the first lowest
        packed = codes[:, 0] | codes[:, 1] << 2 | codes[:, 2] << 4 | codes[:, 3] << 6
        return cls(name, packed.view("<u4"))

    @property
    def n_wrong(self) -> int:
        """The number of the 2**24 roots that are not correctly rounded."""
        if self.words is None:
            return 0
        return int(np.bitwise_count(self.words & 0x55555555).sum())  # -1 and 1 are odd

    @functools.cached_property
    def table(self) -> jax.Array | None:
        """``words`` as an array of JAX, made once."""
        if self.words is None or isinstance(self.words, jax.Array):
            return self.words
        with jax.ensure_compile_time_eval():
            return jnp.asarray(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SquareRoot) and self.name == other.name and np.array_equal(self.words, other.words)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<SquareRoot {self.name}: {self.n_wrong} of {N_CASES} not correctly rounded>"

    def tree_flatten(self) -> tuple[tuple[Any], str]:
        """For JAX: a tree with one leaf, so that a compiled function takes the table as an argument."""
        return (self.table,), self.name

    @classmethod
    def tree_unflatten(cls, name: str, children: tuple[Any]) -> "SquareRoot":
        """For JAX."""
        return cls(name, *children)


Root: TypeAlias = str | SquareRoot


@functools.cache
def square_root(name: str) -> SquareRoot:
    """Return a root by its name.

    Args:
        name: ``"correct"``: correctly rounded, as MKL's AVX2 code has float32 on Intel's processors, and as torch's
            fused optimizers have it everywhere. ``"mkl_avx512"``: MKL's AVX-512 code there, one number too low for
            98,955 of the 2**24 pairs of significand and parity.

    Raises:
        ValueError: no root has that name.
    """
    if name == "correct":
        return SquareRoot(name)
    if name != "mkl_avx512":
        raise ValueError(
            f"no root is called {name!r}: give 'correct', 'mkl_avx512', or what torch_bridge.torch_root() returns"
        )
    with resources.files(__package__).joinpath("mkl_avx512_sqrt_float32.npz").open("rb") as file, np.load(file) as data:
        too_low = np.cumsum(data["delta"], dtype=np.int64)
    corrections = np.zeros(N_CASES, np.int8)
    corrections[too_low] = -1
    return SquareRoot.from_corrections(name, corrections)


def as_root(root: Root) -> SquareRoot:
    """Return the root that is named, or given."""
    if isinstance(root, SquareRoot):
        return root
    if isinstance(root, str):
        return square_root(root)
    raise ValueError(f"sqrt is the name of a square root, or the result of torch_bridge.torch_root(), but is {root!r}")


def sqrt(x: jax.Array, root: SquareRoot) -> jax.Array:
    """``torch.sqrt(x)``, as the torch with that root has it.

    Args:
        x: array of real floating dtype, any shape.
        root: which one.

    Returns:
        Shape and dtype of ``x``.

    Exactness: bitwise for float32 with the root of the torch that is compared; float64 and the low precisions are
    correctly rounded, which MKL's roots are not everywhere (`rounding`).

    The derivative is that of the exact root, whatever the table, and 0 at 0: an average of squares that never had a
    gradient does not depend on anything, and infinity times that would be NaN.
    """
    wide = x.astype(compute_dtype(x.dtype))
    correct = jax.lax.sqrt(wide)
    if root.table is not None and correct.dtype == jnp.float32:
        correct = _corrected(correct, wide, root.table)
    return _as_root_of(wide, correct).astype(x.dtype)


def _corrected(correct: jax.Array, x: jax.Array, table: jax.Array) -> jax.Array:
    """Move roots by the corrections that a table has for them."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    case = ((((bits >> 23) + 1) & 1) << 23) | (bits & 0x7FFFFF)  # the exponent of 1.0 is 127, an odd number
    code = (_entries(table, case // _PER_WORD) >> (2 * (case % _PER_WORD))) & 3
    correction = jax.lax.bitcast_convert_type(code << 30, jnp.int32) >> 30
    regular = (x > 0) & (x < jnp.inf)
    corrected = jax.lax.bitcast_convert_type(correct, jnp.int32) + jnp.where(regular, correction, 0)
    return jax.lax.bitcast_convert_type(corrected, jnp.float32)


@jax.custom_jvp
def _as_root_of(x: jax.Array, root: jax.Array) -> jax.Array:
    """Return ``root``, with the derivative of the root of ``x``: bits that were set one by one have none."""
    return root


@_as_root_of.defjvp
def _as_root_of_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    x, _ = primals
    root = _as_root_of(*primals)
    return root, tangents[0] * jnp.where(x == 0, 0, 0.5 / jnp.where(x == 0, 1, root))


def _entries(table: jax.Array, index: jax.Array) -> Any:
    """The entries of a table that every device has whole, sharded as the index is."""
    sharding = jax.typeof(index).sharding
    explicit = any(kind == jax.sharding.AxisType.Explicit for kind in sharding.mesh.axis_types)
    return table.at[index].get(mode="promise_in_bounds", out_sharding=sharding if explicit else None)
