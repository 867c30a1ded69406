"""Layers as ports write them, by torch's names and in torch's layout; each output can be replaced by a wrong one."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

Params = Mapping[str, jax.Array]


class Layers:
    """The layers of one call of a net, named for torch_bridge.

    Args:
        params: by torch's names.
        wrong: layer -> a function of its output.
    """

    def __init__(self, params: Params, wrong: Mapping[str, Callable[[jax.Array], jax.Array]]) -> None:
        """Begin a call."""
        self._params, self._wrong = params, wrong

    def named(self, name: str, value: jax.Array) -> jax.Array:
        """A layer's output, under its name."""
        named: jax.Array = checkpoint_name(self._wrong.get(name, lambda x: x)(value), name)
        return named

    def linear(self, name: str, x: jax.Array) -> jax.Array:
        """``x @ weight.T + bias``."""
        return self.named(name, x @ self._params[f"{name}.weight"].T + self._params[f"{name}.bias"])

    def convolution(self, name: str, x: jax.Array, padding: int) -> jax.Array:
        """A convolution of NCHW, with stride 1."""
        y = jax.lax.conv_general_dilated(
            x, self._params[f"{name}.weight"], (1, 1), [(padding, padding)] * 2,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
        )  # fmt: skip
        return self.named(name, y + self._params[f"{name}.bias"][:, None, None])

    def layer_norm(self, name: str, x: jax.Array, eps: float = 1e-5) -> jax.Array:
        """The last axis with mean 0 and variance 1, scaled and shifted."""
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        y = (x - mean) / jnp.sqrt(variance + eps)
        return self.named(name, y * self._params[f"{name}.weight"] + self._params[f"{name}.bias"])

    def batch_norm(
        self, name: str, x: jax.Array, state: Params, eps: float = 1e-5, **fault: float
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Batch normalisation of NCHW in training, and its new running statistics.

        Args:
            name: of the layer.
            x: its input.
            state: the running statistics.
            eps: of the root.
            fault: ``momentum`` in place of 0.1, ``correction`` in place of 1, ``count`` in place of 1.
        """
        axes, n = (0, 2, 3), x.size // x.shape[1]
        mean, variance = x.mean(axes), x.var(axes)
        shape = (1, -1, 1, 1)
        y = (x - mean.reshape(shape)) / jnp.sqrt(variance.reshape(shape) + eps)
        y = y * self._params[f"{name}.weight"].reshape(shape) + self._params[f"{name}.bias"].reshape(shape)
        share, correction = fault.get("momentum", 0.1), fault.get("correction", 1)
        old = {role: state[f"{name}.{role}"] for role in ("running_mean", "running_var", "num_batches_tracked")}
        new = {
            f"{name}.running_mean": (1 - share) * old["running_mean"] + share * mean,
            f"{name}.running_var": (1 - share) * old["running_var"] + share * variance * (n / (n - correction)),
            f"{name}.num_batches_tracked": old["num_batches_tracked"] + int(fault.get("count", 1)),
        }
        return self.named(name, y), new
