"""Permutations: ``torch.randperm``, a sequential shuffle done in blocks whose swaps commit together."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from torch_bridge.random.dtypes import FLOATING, TORCH_NAMES, as_dtype, digits
from torch_bridge.random.mersenne_twister import State, draw_32, draw_64

WIDE_LENGTH = (2**32 - 1) // 20  # from here on torch spends two words on a step and shuffles inside out
BLOCKS_PER_REMAINDER = 32  # a block is a 32nd of what is left: few of its steps share a cell, and there are few blocks
LEAST_BLOCK = 4096


def draw_permutation(state: State, n: int, dtype: DTypeLike = np.int64) -> tuple[NDArray[Any], State]:
    """Draw a permutation of ``0 .. n - 1``: ``torch.randperm(n)``.

    Equation, for ``n < 214748364``::

        p = (0, ..., n - 1);  for i = 0 .. n - 2:  swap p[i] with p[i + word mod (n - i)]

    and from there on, with 64-bit words::

        for i = 0 .. n - 1:  z = word mod (i + 1);  p[i] = p[z];  p[z] = i

    The steps of a block are done at once: `_commit`.

    Args:
        state: where the stream stands.
        n: length, 0 or more.
        dtype: an integer dtype that holds ``n``, or a floating one that holds every integer below it.

    Returns:
        Array of shape ``(n,)`` and the next state: ``n - 1`` words further, ``2 * n`` for a long one.

    Raises:
        RuntimeError: a negative ``n``, or one too large for the dtype; torch's messages.
        NotImplementedError: bool, or a dtype that torch lacks.

    Exactness: bitwise.

    Source: ``aten/src/ATen/native/TensorFactories.cpp``, ``randperm_cpu``, torch 2.13.0.

    Example:
        >>> from torch_bridge.random.mersenne_twister import seeded
        >>> draw_permutation(seeded(0), 6)[0]  # torch.manual_seed(0); torch.randperm(6)
        array([2, 5, 3, 0, 1, 4])
    """
    dtype = _check(n, as_dtype(dtype))
    if n < 2:
        return np.arange(n).astype(dtype), state
    if n < WIDE_LENGTH:
        words, state = draw_32(state, n - 1)
        return shuffled(words, n).astype(dtype), state
    permutation, state = inside_out(state, n)
    return permutation.astype(dtype, copy=False), state


def shuffled(words: NDArray[np.uint32], n: int) -> NDArray[np.int32]:
    """Shuffle ``0 .. n - 1`` by ``n - 1`` words: the first of the two equations.

    Args:
        words: uint32, shape ``(n - 1,)``.
        n: length, 1 to ``2**31 - 1``.

    Returns:
        int32 array of shape ``(n,)``.
    """
    permutation = np.arange(n, dtype=np.int32)
    latest = np.full(n, -1, np.int32)
    start = 0
    while start < n - 1:
        left = n - start
        size = min(max(left // BLOCKS_PER_REMAINDER, LEAST_BLOCK), n - 1 - start)
        steps = np.arange(start, start + size, dtype=np.uint32)
        targets = words[start : start + size] % (np.uint32(n) - steps) + steps
        _commit(permutation, latest, start, targets.astype(np.intp))
        start += size
    return permutation


def _commit(permutation: NDArray[np.int32], latest: NDArray[np.int32], start: int, targets: NDArray[np.intp]) -> None:
    """Do the swaps ``i <-> targets[i - start]`` of a block of consecutive steps ``i``, in place.

    Step ``i`` takes what lies in its target cell and leaves there what lies in cell ``i``, which no later step
    looks at again. So a cell's content is what the latest step that aimed at it carried, and what a step carries is
    the content of its own cell, brought by an earlier step or there from the start: chains that run back in time.
    In a block of a 32nd of the remaining cells few steps share a cell, so few chains have links.

    Args:
        permutation: the array being shuffled; cells from ``start`` on are still in play.
        latest: scratch, one number a cell: the last step known to have aimed at it; below ``start`` means none of
            this block.
        start: the block's first step.
        targets: each at least its own step's number.
    """
    count = len(targets)
    steps = np.arange(start, start + count, dtype=np.int32)
    still = np.flatnonzero(targets == steps)  # a step that aims at itself moves nothing
    if not still.size:
        latest[targets] = steps  # where an index is repeated, the last assignment stands
        overtaken = np.flatnonzero(latest[targets] != steps)
    else:
        moves = targets != steps
        latest[targets[moves]] = steps[moves]
        overtaken = np.flatnonzero(moves & (latest[targets] != steps))

    carried = permutation[start : start + count].copy()
    bringer = latest[start : start + count] - np.int32(start)  # the step that filled this step's own cell
    filled = np.flatnonzero(bringer >= 0)
    if filled.size:
        origin = np.arange(count)
        origin[filled] = bringer[filled]
        while True:  # follow the chains, twice as far each time
            further = origin[origin[filled]]
            if np.array_equal(further, origin[filled]):
                break
            origin[filled] = further
        carried[filled] = permutation[start + origin[filled]]

    taken = permutation[targets]
    if overtaken.size:  # steps that share a cell with a later one, which takes what they left
        cells = targets[overtaken]
        by_cell = np.argsort(cells, kind="stable")
        cells, sharing = cells[by_cell], overtaken[by_cell]
        follower = latest[cells] - start
        again = np.flatnonzero(cells[:-1] == cells[1:])
        follower[again] = sharing[again + 1]
        taken[follower] = carried[sharing]
    taken[still] = carried[still]

    permutation[targets] = carried  # again the last assignment stands
    permutation[start : start + count] = taken


def inside_out(state: State, n: int) -> tuple[NDArray[np.int64], State]:
    """Shuffle ``0 .. n - 1`` inside out: the second of the two equations.

    In blocks again. A step copies what lies in the cell that it chose: the number of the last step of the block with
    the same choice; failing that, what lay there before the block or, if the block made that cell, that cell's copy.

    Args:
        state: where the stream stands.
        n: length.

    Returns:
        int64 array of shape ``(n,)`` and the state ``2 * n`` words further.
    """
    permutation = np.empty(n, np.int64)
    start = 0
    while start < n:
        count = min(max(start // BLOCKS_PER_REMAINDER, LEAST_BLOCK), 2**22, n - start)
        wide, state = draw_64(state, count)
        steps = np.arange(start, start + count)
        choices = (wide % (steps + 1).astype(np.uint64)).astype(np.int64)
        made_here = choices >= start
        copied = np.where(made_here, steps, permutation[np.where(made_here, 0, choices)])

        permutation[choices] = steps  # where an index is repeated, the last assignment stands
        overtaken = np.flatnonzero(permutation[choices] != steps)
        cells = choices[overtaken]
        by_cell = np.argsort(cells, kind="stable")
        cells, sharing = cells[by_cell], overtaken[by_cell]
        follower = permutation[cells] - start
        again = np.flatnonzero(cells[:-1] == cells[1:])
        follower[again] = sharing[again + 1]
        copied[follower] = sharing + start
        alone = np.ones(count, bool)
        alone[follower] = False

        origin = np.where(made_here & alone, choices - start, np.arange(count))
        while not np.array_equal(further := origin[origin], origin):
            origin = further
        permutation[start : start + count] = copied[origin]
        permutation[choices] = steps
        start += count
    return permutation, state


def _check(n: int, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if dtype.name not in TORCH_NAMES or dtype == np.bool_:
        raise NotImplementedError(f"\"randperm\" not implemented for '{TORCH_NAMES.get(dtype.name, dtype.name)}'")
    if dtype in FLOATING:
        if dtype.name != "bfloat16" and n > 2 ** digits(dtype) + 1:  # torch omits the check for bfloat16
            raise RuntimeError(f"n cannot be greater than {2 ** digits(dtype) + 1} for {TORCH_NAMES[dtype.name]} type.")
    elif n > np.iinfo(dtype).max:
        name = {"int64": "int64_t", "int32": "int"}.get(dtype.name, f"{dtype.name}_t")
        raise RuntimeError(f"value cannot be converted to type {name} without overflow")
    return dtype
