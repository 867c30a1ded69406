"""What people compare with today, on the same runs."""

import numpy as np

import torch_bridge

PEERS = ("gradients", "ten losses", "curve")
"""``allclose`` at 1e-5 of the first gradients; ten losses within a factor of two; the curve's end within 5 %."""


def peers(torch: torch_bridge.Trace, jax: torch_bridge.Trace | None) -> tuple[bool, ...]:
    """Whether each sees a difference between two free runs; without one on JAX's side nothing is seen."""
    if jax is None:
        return (False,) * len(PEERS)
    gradients = any(
        not np.allclose(jax.value(key, 0), torch.value(key, 0), rtol=1e-5, atol=1e-5)
        for key in torch.keys
        if key.startswith("gradient/") and jax.has(key, 0)
    )
    mine, theirs = (np.asarray(trace.steps["loss"], np.float64)[:10] for trace in (jax, torch))
    losses = not np.allclose(mine, theirs, rtol=1.0, atol=0)
    tail = slice(-max(1, len(mine) // 4), None)
    curve = not abs(mine[tail].mean() - theirs[tail].mean()) <= 0.05 * abs(theirs[tail].mean())
    return gradients, losses, bool(curve)
