"""The question whether bits can be promised here, put to a backend by small programs."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from funcsgd.arithmetic.probes import probes


class Exactness(NamedTuple):
    """The result of `exactness`.

    Attributes:
        bitwise: bits can be promised: every pattern holds.
        holds: from each pattern that was probed to whether it has torch's roundings here.
        backend: the platform that was probed, such as ``"cpu"``.
    """

    bitwise: bool
    holds: Mapping[str, bool]
    backend: str

    def __str__(self) -> str:
        if self.bitwise:
            return f"{self.backend}: bitwise"
        if not self.holds["a product and a sum"]:
            return f"{self.backend}: rounding (a product and a sum are not fused)"
        lost = ", ".join(pattern for pattern, held in self.holds.items() if not held)
        return f"{self.backend}: rounding for {lost}; otherwise bitwise"


def exactness(backend: str | None = None) -> Exactness:
    """Run small programs on a backend and report whether the class `bitwise` holds there, and for what it does not.

    Each program has one pattern that the rules rest on: a product and a sum, a product that is rounded by itself, a
    factor that is an array, a select, a transpose or a broadcast in front, a sum with several uses, several updates in
    one program, a short last axis. Inside `exact_arithmetic` the programs are those of that arithmetic. A compiler may
    still do something else in a larger program: `verify` checks yours.

    Args:
        backend: platform name, such as ``"cpu"`` or ``"gpu"``; None takes JAX's default.

    Returns:
        An `Exactness`; ``exactness().bitwise`` is the short answer, ``str`` of it the long one.

    Raises:
        RuntimeError: JAX has no such backend.

    Example:
        >>> exactness("cpu").backend
        'cpu'
    """
    device = jax.devices(backend)[0]
    holds: dict[str, bool] = {}
    for probe in probes():
        operands = jax.device_put(probe.operands, device)
        found = np.asarray(jax.jit(probe.program)(*operands))
        same = found.tobytes() == probe.expected.tobytes()
        holds[probe.pattern] = holds.get(probe.pattern, True) and same
    return Exactness(all(holds.values()), holds, device.platform)
