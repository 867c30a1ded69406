"""Small programs, one for each pattern that the rules rest on, with the result that torch's roundings give."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcsgd.arithmetic.elementwise import add, mul, step

ALPHA, BETA = float(np.float32(0.7)), float(np.float32(0.9))


class Probe(NamedTuple):
    """A program and what it has to return.

    Attributes:
        pattern: what the program has in it, in a few words.
        program: a function of arrays, to be compiled.
        operands: its arguments.
        expected: its result, bit for bit.
    """

    pattern: str
    program: Callable[..., jax.Array]
    operands: tuple[np.ndarray, ...]
    expected: np.ndarray


def probes() -> Iterator[Probe]:
    """All of them. In each, sums cancel, so that what is left is the rounding of a product, or nothing of it."""
    p, d = _cancelling(67)  # an odd length: a vectorised loop and its remainder are both tested
    once = _fused(p, d, -ALPHA)
    yield Probe("a product and a sum", _stepped, (p, d), once)
    yield Probe("a rounded product and a sum", lambda p, d: p + mul(d, -ALPHA), (p, d), p + d * np.float32(-ALPHA))
    alpha = np.array(-ALPHA, np.float32)
    yield Probe("a traced factor", lambda p, d, alpha: p + step(d, alpha, p), (p, d, alpha), once)

    chosen = np.where(d > 1.5, np.float32(0), d)
    selected = _fused(p, chosen, -ALPHA)
    yield Probe("a select in front", lambda p, d: _stepped(p, jnp.where(d > 1.5, 0.0, d)), (p, d), selected)

    ahead = _momentum_expected(p, d)
    yield Probe("a sum with several uses", _with_momentum, (p, d), ahead)
    twice = _fused(once, p, -ALPHA)
    yield Probe("several updates in a program", lambda p, d: _stepped(_stepped(p, d), p), (p, d), twice)

    p, d = (x.reshape(33, 16) for x in _cancelling(33 * 16))
    yield Probe("a transposed array", lambda p, d: _stepped(p, d.T), (p, d.T.copy()), _fused(p, d, -ALPHA))
    row = _fused(p, np.broadcast_to(d[:1], p.shape), -ALPHA)
    yield Probe("a broadcast array", lambda p, d: _stepped(p, jnp.broadcast_to(d, p.shape)), (p, d[:1]), row)

    for n in (3, 4, 5, 8, 12):
        p, d = (x.reshape(40, n) for x in _cancelling(40 * n))
        turned = _fused(p, d, -ALPHA)
        yield Probe("a last axis of 16 or less", lambda p, d: _stepped(p, d.T), (p, d.T.copy()), turned)
        yield Probe("a last axis of 16 or less", _with_momentum, (p, d), _momentum_expected(p, d))


def _stepped(p: jax.Array, d: jax.Array) -> jax.Array:
    return p + step(d, -ALPHA, p)


def _with_momentum(p: jax.Array, d: jax.Array) -> jax.Array:
    buffer = add(d, p, alpha=BETA)
    return jnp.stack([buffer, _stepped(p, add(d, buffer, alpha=BETA))])


def _momentum_expected(p: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The exact result of `_with_momentum`."""
    buffer = _fused(d, p, BETA)
    return np.stack([buffer, _fused(p, _fused(d, buffer, BETA), -ALPHA)])


def _cancelling(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    d = rng.uniform(1, 2, n).astype(np.float32)
    return d * np.float32(ALPHA) * (1 + rng.integers(-4, 5, n).astype(np.float32) * np.float32(2**-23)), d


def _fused(x: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
    """``fl(x + alpha * y)``. By way of float64: of so few numbers none lies so near a tie that this rounds twice."""
    pairs = zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)
    exact = [Fraction(a) + Fraction(alpha) * Fraction(b) for a, b in pairs]
    return np.array([np.float32(float(value)) for value in exact]).reshape(x.shape)
