"""Settings of the process, and the default types that follow from them; undone while the port is evaluated again.

Only what can be proved is here: other settings, such as flags of XLA and counts of threads, are findings of the
preflight.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.widening import CAST, LAX


@contextlib.contextmanager
def _in_float64() -> Iterator[None]:
    """Casts to float32 become casts to float64."""
    cast = getattr(LAX, CAST, None)
    if cast is None:
        yield
        return

    def wider(operand: Any, new_dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        narrowed = new_dtype is not None and str(np.dtype(new_dtype)) == "float32"
        return cast(operand, np.dtype(np.float64) if narrowed else new_dtype, *args, **kwargs)

    with mock.patch.object(LAX, CAST, wider):
        yield


def _as_int64(batch: Any) -> Any:
    """A batch whose integers have 64 bits."""

    def leaf(x: Any) -> Any:
        x = np.asarray(x)
        return x.astype(np.int64) if np.issubdtype(x.dtype, np.integer) else x

    return jax.tree.map(leaf, batch)


MATMUL = Entry(
    "matmul-precision", "environment",
    "JAX multiplies matrices in fewer digits than torch, by its default on this device or by "
    "jax_default_matmul_precision.",
    'jax.config.update("jax_default_matmul_precision", "highest")', lambda: jax.default_matmul_precision("highest"),
)  # fmt: skip
FLOAT32 = Entry(
    "float32-inside", "environment", "A part is computed in float32, which torch computes in float64.",
    "no .astype(jnp.float32) at this line, and no array that was made in float32", _in_float64,
)  # fmt: skip
OVERFLOW = Entry(
    "integers-overflow", "environment",
    "Integers have 32 bits and overflow where torch's have 64, as in a hash of tokens.",
    'jax.config.update("jax_enable_x64", True), or numbers that are reduced before they are multiplied', _as_int64,
)  # fmt: skip
EAGER = Entry(
    "update-not-compiled", "environment",
    "The update is computed eagerly: each operation rounds by itself, and its bits are not torch's.",
    "JAX_DISABLE_JIT=0; or the update inside `with funcsgd.exact_arithmetic():`", lambda: jax.disable_jit(False),
)  # fmt: skip
ENTRIES = (MATMUL, FLOAT32, OVERFLOW, EAGER)
"""Faults of the environment; ``repair()`` is a context in which the port is evaluated, `OVERFLOW`'s of a batch."""
