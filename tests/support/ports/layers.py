"""Torch's layers as a porter writes them for JAX, with room for the mistakes a porter makes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of one port; every field but `compute` is a fault, and absent by default.

    Args:
        compute: the type of matrix products and convolutions, as under torch's autocast; None keeps the inputs' own.
        epsilon: factor on the epsilon of every norm.
        smoothing: label smoothing.
        logits, loss: factors on the logits and on the loss.
        narrow: ``(layer, dtype)``, a layer that computes in a narrower type: "softmax" or a module's name.
        tf32: matrix products and convolutions round their inputs to 10 bits of mantissa.
        one_pass: variances are ``E[x^2] - E[x]^2``.
        bare_softmax: no maximum is subtracted before the exponential.
        maximum: ``jnp.maximum(x, 0)`` in place of ``jax.nn.relu``: another derivative at zero.
        transposed: name of a layer whose kernel is used with its last two axes exchanged.
        padding: "SAME" in place of torch's symmetric padding.
        swapped: two layers that fit each other's places are exchanged.
        tanh: GELU by its approximation with tanh.
    """

    compute: Any = None
    epsilon: float = 1.0
    smoothing: float = 0.0
    logits: float = 1.0
    loss: float = 1.0
    narrow: tuple[str, Any] | None = None
    tf32: bool = False
    one_pass: bool = False
    bare_softmax: bool = False
    maximum: bool = False
    transposed: str | None = None
    padding: str | None = None
    swapped: bool = False
    tanh: bool = False

    def named(self, name: str, function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
        """One layer's output under torch's name for it."""
        if self.narrow is None or self.narrow[0] != name:
            return checkpoint_name(function(*arrays), name)
        out = function(*(x.astype(self.narrow[1]) for x in arrays))
        return checkpoint_name(out.astype(arrays[0].dtype), name)

    def cast(self, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        """What enters a product, as autocast casts it."""
        if self.tf32:
            arrays = tuple(lax.reduce_precision(x, exponent_bits=8, mantissa_bits=10) for x in arrays)
        return arrays if self.compute is None else tuple(x.astype(self.compute) for x in arrays)

    def linear(self, name: str, x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
        """``nn.Linear``."""

        def function(x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
            x, weight, bias = self.cast(x, weight, bias)
            return x @ (weight if self.transposed == name else weight.T) + bias

        return self.named(name, function, x, weight, bias)

    def convolution(self, name: str, x: jax.Array, weight: jax.Array, stride: int = 1) -> jax.Array:
        """``nn.Conv2d`` of kernel 3 and padding 1 without a bias."""

        def function(x: jax.Array, weight: jax.Array) -> jax.Array:
            x, weight = self.cast(x, weight)
            kernel = weight.swapaxes(2, 3) if self.transposed == name else weight
            padding = self.padding or ((1, 1), (1, 1))
            return lax.conv_general_dilated(
                x, kernel, (stride, stride), padding, dimension_numbers=("NCHW", "OIHW", "NCHW")
            )

        return self.named(name, function, x, weight)

    def _normalized(self, x: jax.Array, axes: tuple[int, ...], eps: float) -> jax.Array:
        mean = x.mean(axes, keepdims=True)
        variance = (x * x).mean(axes, keepdims=True) - mean * mean if self.one_pass else x.var(axes, keepdims=True)
        return (x - mean) / jnp.sqrt(variance + eps * self.epsilon)

    def batch_norm(self, name: str, x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
        """``nn.BatchNorm2d`` while it trains."""

        def function(x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
            out = self._normalized(full(x), (0, 2, 3), 1e-5)
            return (out * weight[:, None, None] + bias[:, None, None]).astype(x.dtype)

        return self.named(name, function, x, weight, bias)

    def group_norm(self, name: str, x: jax.Array, weight: jax.Array, bias: jax.Array, groups: int) -> jax.Array:
        """``nn.GroupNorm``."""

        def function(x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
            grouped = full(x).reshape(x.shape[0], groups, -1)
            out = self._normalized(grouped, (2,), 1e-5).reshape(x.shape)
            return (out * weight[:, None, None] + bias[:, None, None]).astype(x.dtype)

        return self.named(name, function, x, weight, bias)

    def layer_norm(self, name: str, x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
        """``nn.LayerNorm`` over the last axis."""

        def function(x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
            return (self._normalized(full(x), (-1,), 1e-5) * weight + bias).astype(x.dtype)

        return self.named(name, function, x, weight, bias)

    def relu(self, name: str, x: jax.Array) -> jax.Array:
        """``nn.ReLU``."""
        return self.named(name, (lambda x: jnp.maximum(x, 0)) if self.maximum else jax.nn.relu, x)

    def gelu(self, name: str, x: jax.Array) -> jax.Array:
        """``nn.GELU``, the exact one."""
        return self.named(name, lambda x: jax.nn.gelu(x, approximate=self.tanh), x)

    def max_pool(self, name: str, x: jax.Array) -> jax.Array:
        """``nn.MaxPool2d(2)``."""

        def function(x: jax.Array) -> jax.Array:
            return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

        return self.named(name, function, x)

    def log_softmax(self, x: jax.Array) -> jax.Array:
        """The criterion's, over the last axis: float32 inside, and autocast leaves it in float32."""
        dtype = self.narrow[1] if self.narrow and self.narrow[0] == "softmax" else full(x).dtype
        z = x.astype(dtype)
        out = z - jnp.log(jnp.exp(z).sum(-1, keepdims=True)) if self.bare_softmax else jax.nn.log_softmax(z)
        return out.astype(x.dtype if self.compute is None else full(x).dtype)

    def softmax(self, name: str, x: jax.Array) -> jax.Array:
        """The softmax of attention, over the last axis, in float32 where the scores are narrower."""
        dtype = self.narrow[1] if self.narrow and self.narrow[0] == name else full(x).dtype
        z = x.astype(dtype)
        out = jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True) if self.bare_softmax else jax.nn.softmax(z)
        return out.astype(x.dtype)

    def cross_entropy(self, x: jax.Array, target: jax.Array) -> jax.Array:
        """``nn.CrossEntropyLoss`` of logits ``(..., classes)`` and integer targets ``(...)``."""
        log_p = self.log_softmax(x * self.logits)
        picked = jnp.take_along_axis(log_p, target[..., None], -1)[..., 0]
        return (-(1 - self.smoothing) * picked - self.smoothing * log_p.mean(-1)).mean() * self.loss


def full(x: jax.Array) -> jax.Array:
    """At least float32, as torch's norms and softmax compute inside."""
    return x.astype(jnp.float32) if x.dtype in (jnp.bfloat16, jnp.float16) else x
