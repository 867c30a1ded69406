"""Which square root the torch has that is installed here."""

import functools

import numpy as np

from funcsgd.arithmetic.square_root import N_CASES, SquareRoot, square_root

_EXPONENTS = (-100, -8, 2, 60)  # even: the significand's parity stays


class UnknownRoot(ValueError):
    """torch's square root is not a correction of at most one number that depends on significand and parity alone."""


@functools.cache
def torch_root() -> SquareRoot:
    """Measure the float32 square root of the installed torch: what rules such as ``funcsgd.adam`` take as ``sqrt``.

    torch's root on CPU is that of Intel's MKL, which has other bits with AVX-512 than with AVX2, and on AMD's
    processors again. It is evaluated for all 2**24 pairs of significand and exponent's parity, which takes a quarter of
    a second, once in a process.

    Returns:
        The root called ``"correct"`` or ``"mkl_avx512"`` if it is one of these, otherwise one called ``"measured"``.

    Raises:
        UnknownRoot: it is no such function of the value: results of another torch can then only be equalled in the
            class `rounding`.

    Exactness: bitwise, for every positive float32 that is not subnormal.

    Example:
        >>> import funcsgd
        >>> tx = funcsgd.adam(1e-3, sqrt=torch_root())
    """
    import torch

    def root(x: np.ndarray) -> np.ndarray:
        values: np.ndarray = torch.sqrt(torch.from_numpy(x)).numpy()
        return values

    root(np.ones(1, np.float32))  # MKL's first call may run another kernel in one of the threads
    cases = (np.arange(N_CASES, dtype=np.uint32) + np.float32(1).view(np.uint32)).view(np.float32)
    found = root(cases)
    corrections = found.view(np.int32) - np.sqrt(cases).view(np.int32)
    if np.abs(corrections).max() > 1:
        raise UnknownRoot(
            f"torch.sqrt is up to {np.abs(corrections).max()} float32 numbers from the correctly rounded root here: "
            "no root of this library can equal it"
        )
    some = np.random.default_rng(0).integers(0, N_CASES, 100_000)
    for exponent in _EXPONENTS:
        scaled = np.ldexp(cases[some], exponent)
        if not np.array_equal(root(scaled), np.ldexp(found[some], exponent // 2)):
            raise UnknownRoot(
                "torch.sqrt depends on more than significand and parity of the exponent here, or changes from call to "
                "call: no root of this library can equal it"
            )
    measured = SquareRoot.from_corrections("measured", corrections)
    for name in ("correct", "mkl_avx512"):
        known = square_root(name)
        if np.array_equal(known.words, measured.words):
            return known
    return measured
