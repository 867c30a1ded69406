"""Draws from a list of weights: ``torch.multinomial``."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torch_bridge.random.dtypes import FLOATING, TORCH_NAMES
from torch_bridge.random.exponential import draw_exponential
from torch_bridge.random.mersenne_twister import State
from torch_bridge.random.uniform import draw_unit_64


def draw_multinomial(
    state: State, weights: ArrayLike, num_samples: int, replacement: bool = False
) -> tuple[NDArray[np.int64], State]:
    """Draw indices with probabilities proportional to weights.

    Equation. With replacement and more than one sample: the cumulative sum, in float64 if the weights are, else in
    float32, is divided by its last element, which is then set to 1; a sample is the first index whose sum is not
    below a `draw_unit_64`.
    Otherwise ``q = weights / e`` with exponential ``e``, and the samples are the indices of the largest ``q``, in
    descending order. One sample goes that way also with replacement.

    Args:
        state: where the stream stands.
        weights: floating array, shape ``(n,)`` or ``(rows, n)``, finite and at least 0.
        num_samples: how many for each row; without replacement at most ``n``.
        replacement: whether an index may come again.

    Returns:
        int64 array of shape ``(num_samples,)`` or ``(rows, num_samples)``, and the next state.

    Raises:
        RuntimeError: with torch's messages, for what torch refuses.

    Exactness: bitwise where Python and torch run on one C library (see `draw_exponential`). Equal values of ``q``,
    which means several weights of zero among the chosen, or bfloat16 and float16 weights, come out in index order;
    torch's order among them is that of an unstable sort.

    Source: ``aten/src/ATen/native/Distributions.cpp``, ``multinomial_out``, and ``cpu/MultinomialKernel.cpp``,
    torch 2.13.0.

    Example:
        >>> from torch_bridge.random.mersenne_twister import seeded
        >>> draw_multinomial(seeded(0), np.ones(9), 5, True)[0]
        array([8, 6, 4, 8, 5])
    """
    weights = np.asarray(weights)
    _check(weights, num_samples, replacement)
    rows = weights.reshape(-1, weights.shape[-1])
    if 0 in rows.shape:
        return np.empty((*weights.shape[:-1], num_samples), np.int64), state
    if replacement and num_samples > 1:
        uniforms, state = draw_unit_64(state, len(rows) * num_samples)
        pairs = zip(rows, uniforms.reshape(len(rows), num_samples), strict=True)
        chosen = np.stack([np.searchsorted(_cumulative(row), u, side="left") for row, u in pairs])
    else:
        _check_rows(rows)
        exponentials, state = draw_exponential(state, rows.shape, 1.0, rows.dtype)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            keys = rows / exponentials
        chosen = np.argsort(-keys, axis=1, kind="stable")[:, :num_samples]
    return chosen.astype(np.int64).reshape(*weights.shape[:-1], num_samples), state


def _cumulative(row: NDArray[np.floating]) -> NDArray[np.float64]:
    if not (row >= 0).all():
        raise RuntimeError("invalid multinomial distribution (encountering probability entry < 0)")
    if not np.isfinite(row).all():
        raise RuntimeError("invalid multinomial distribution (encountering probability entry = infinity or NaN)")
    sums = np.cumsum(row.astype(np.float64 if row.dtype == np.float64 else np.float32))
    if not sums[-1] > 0:
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    shares: NDArray[np.float64] = (sums / sums[-1]).astype(np.float64)
    shares[-1] = 1
    return shares


def _check_rows(rows: NDArray[np.floating]) -> None:
    if not (np.isfinite(rows) & (rows >= 0)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (rows.sum(axis=1) == 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


def _check(weights: NDArray[np.floating], num_samples: int, replacement: bool) -> None:
    if weights.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if weights.dtype not in FLOATING:
        name = TORCH_NAMES.get(weights.dtype.name, weights.dtype.name)
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {name}")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > weights.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
