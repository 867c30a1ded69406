"""Sums of squares in the order of torch's CPU kernel: eight float32 or four float64 lanes.

A plain ``jnp.sum`` will not do: XLA regroups the sums of a reduction twice, once into a tree and once more when the
loop is vectorised. A loop written out, by contrast, is kept in order.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from funcsgd.arithmetic import addcmul, rounded

VECTOR_BYTES = 32  # an AVX2 register; torch's AVX512 build sums in the same lanes
ROWS_IN_BLOCK = 32  # how far the loop is unrolled: faster to run the more, faster to compile the less
LARGE = 2**18  # elements from which a vector is read where it stands; shorter ones of one length are copied together


@jax.custom_jvp
def sums_of_squares(vectors: list[jax.Array]) -> jax.Array:
    """Return the sum of squares of each vector.

    Equation, for a vector of ``n`` elements in rows of ``k`` = 8 (float32) or 4 (float64)::

        lane[j] = fl(lane[j] + fl(v * v))       for v in column j of the full rows, from above
        total = lane[0] + lane[1] + ...         from the left
        total = fl(total + fl(v * v))           for the first four of the last n % k elements, where there are four
        total = fl(total + v * v)               for those that then remain

    Args:
        vectors: one-dimensional, float32 or float64, all of one dtype; lengths from 0 to 2**31 - 1.

    Returns:
        Shape ``(len(vectors),)``. Differentiable.

    Exactness: bitwise under ``jit`` on an x86-64 CPU with FMA; elsewhere a sum in whichever order is fast (`rounding`).

    Cost: a lane is one chain of additions, which no second core can shorten. Vectors of one length
    are summed side by side, compiled once; those shorter than `LARGE` are copied for that, the others get a loop each.
    A vector that is sharded is gathered first.

    Source: ``aten/src/ATen/native/cpu/ReduceOpsKernel.cpp``, ``norm_kernel_tensor_iterator_impl``, torch 2.13.0; the
    last two lines are what its compiler made of one.

    Example:
        >>> import jax.numpy as jnp
        >>> sums_of_squares([jnp.array([3.0, 4.0]), jnp.array([1.0])])
        Array([25.,  1.], dtype=float32)
    """
    if not vectors:
        return jnp.zeros((0,))
    sums: jax.Array = _sums(vectors)
    return sums


@jax.jit
def _sums(vectors: list[jax.Array]) -> jax.Array:
    return jnp.asarray(jax.lax.platform_dependent(vectors, cpu=_in_torch_order, default=_in_any_order))


@sums_of_squares.defjvp
def _sums_of_squares_jvp(
    primals: tuple[list[jax.Array]], tangents: tuple[list[jax.Array]]
) -> tuple[jax.Array, jax.Array]:
    pairs = zip(primals[0], tangents[0], strict=True)
    return sums_of_squares(primals[0]), jnp.stack([2 * jnp.sum(v * t) for v, t in pairs])


def _in_any_order(vectors: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.sum(v * v) for v in vectors])


def _in_torch_order(vectors: list[jax.Array]) -> jax.Array:
    n_lanes = VECTOR_BYTES // vectors[0].dtype.itemsize
    vectors = [_whole(v) for v in vectors]
    groups: dict[int, list[int]] = {}
    for i, v in enumerate(vectors):
        groups.setdefault(v.size, []).append(i)

    # One row a vector: its lanes, then what is left over, by fours and by threes.
    rows, places = [], []
    for size, members in groups.items():
        these = [vectors[i] for i in members]
        together = [jnp.stack(these)] if size < LARGE else [v[None] for v in these]
        rows += [_parts(matrix, n_lanes) for matrix in together]
        places += members
    parts = rows[0] if len(rows) == 1 else jnp.concatenate(rows)
    return _totals(parts, n_lanes)[np.argsort(np.array(places))]


def _whole(v: jax.Array) -> jax.Array:
    """Under explicit sharding an array has to be gathered by name before it can be walked through in order."""
    if any(axis is not None for axis in jax.typeof(v).sharding.spec):
        return jnp.asarray(jax.sharding.reshard(v, PartitionSpec()))  # type: ignore[no-untyped-call]
    return v


@functools.partial(jax.jit, static_argnums=1)
def _parts(vectors: jax.Array, n_lanes: int) -> jax.Array:
    """The lanes of vectors of one length, shape ``(n_vectors, length)``, and what is left over."""
    n_rows = vectors.shape[1] // n_lanes
    n_blocks = -(-n_rows // ROWS_IN_BLOCK)
    # What is left over goes through the loop unchanged. Without that, XLA would put all lengths into one function.
    parts = jnp.zeros_like(vectors, shape=(len(vectors), n_lanes))
    parts = jnp.concatenate([parts, _rest(vectors, n_rows * n_lanes)], axis=1)

    def add_rows(parts: jax.Array, rows: jax.Array, start: jax.Array | int, first: jax.Array | int) -> jax.Array:
        sums = parts[:, :n_lanes]
        for k in range(rows.shape[1] // n_lanes):
            v = rows[:, k * n_lanes : (k + 1) * n_lanes]
            sums = sums + rounded(jnp.where(start + k < first, 0, v * v))
        return jnp.concatenate([sums, parts[:, n_lanes:]], axis=1)

    def add_block(i: jax.Array, parts: jax.Array) -> jax.Array:
        first = i * ROWS_IN_BLOCK
        start = jnp.minimum(first, n_rows - ROWS_IN_BLOCK)  # of the last block, the rows seen before count as zeros
        size = (len(vectors), ROWS_IN_BLOCK * n_lanes)
        rows = jax.lax.dynamic_slice(vectors, (0, start * n_lanes), size)  # sliced here: a slice outside is a copy
        return add_rows(parts, rows, start, first)

    if n_blocks < 2:
        return add_rows(parts, vectors[:, : n_rows * n_lanes], 0, 0)
    return jnp.asarray(jax.lax.fori_loop(0, n_blocks, add_block, parts))


def _rest(vectors: jax.Array, start: int) -> jax.Array:
    """The remainder of the full rows, shape ``(n_vectors, 7)``: by four, and up to three; zeros where there is none."""
    n = vectors.shape[1] - start
    by_four = n // 4 * 4
    apart = jnp.pad(vectors[:, start : start + by_four], ((0, 0), (0, 4 - by_four)))
    fused = jnp.pad(vectors[:, start + by_four :], ((0, 0), (0, 3 - (n - by_four))))
    return jnp.concatenate([apart, fused], axis=1)


def _totals(parts: jax.Array, n_lanes: int) -> jax.Array:
    total = parts[:, 0]
    for j in range(1, n_lanes):
        total = total + parts[:, j]

    # torch's compiler took the squares of the rest by fours, apart from their sum, and fused what was left over.
    # Zeros fill the places that a vector does not need: adding them changes no bit.
    apart, fused = parts[:, n_lanes : n_lanes + 4], parts[:, n_lanes + 4 :]
    for j in range(4):
        total = total + rounded(apart[:, j] * apart[:, j])
    for j in range(3):
        v = fused[:, j]
        # rounded(total) is for totals that are known to be 0, where the sum is a product and could be fused itself.
        total = addcmul(total if j != 1 else rounded(total), v, v)
    return total
