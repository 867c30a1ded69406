"""An LSTM that reads a sequence, and a linear layer on its last output."""

import jax
import jax.numpy as jnp
import torch
from jax.ad_checkpoint import checkpoint_name
from torch import nn

from tests.support.ports.common import Batch, Family, LossFn, Params, TorchBatch
from tests.support.ports.layers import Layers

STEPS = 12


class Network(nn.Module):
    """``nn.LSTM`` with the batch in front."""

    def __init__(self, width: int):
        super().__init__()
        self.lstm = nn.LSTM(6, width, batch_first=True)
        self.head = nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.lstm(x)
        return self.head(outputs[:, -1])


def make_data(generator: torch.Generator, samples: int, blank: float) -> TorchBatch:
    """Sequences of twelve vectors and five classes."""
    x = torch.randn(samples, STEPS, 6, generator=generator)
    x[: int(blank * samples)] = 0.0
    return x, torch.randint(0, 5, (samples,), generator=generator)


def write(layers: Layers) -> LossFn:
    """The port: a scan over time; the gates stand in torch's order i, f, g, o."""

    def loss_fn(params: Params, batch: Batch) -> jax.Array:
        x, target = batch
        names = "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"
        outer = x.dtype
        x, w_x, w_h, b_x, b_h = layers.cast(x, *(params[f"lstm.{name}"] for name in names))
        narrow = layers.narrow[1] if layers.narrow and layers.narrow[0] == "lstm" else x.dtype
        x, w_x, w_h, b_x, b_h = (value.astype(narrow) for value in (x, w_x, w_h, b_x, b_h))

        def step(carry: tuple[jax.Array, jax.Array], x_t: jax.Array):
            h, c = carry
            (h_in,) = layers.cast(h)
            gates = x_t @ w_x.T + b_x + h_in.astype(w_h.dtype) @ w_h.T + b_h
            i, f, g, o = jnp.split(gates, 4, axis=-1)
            if layers.swapped:
                i, f = f, i
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[0], w_h.shape[1]), x.dtype)
        _, outputs = jax.lax.scan(step, (zeros, zeros), x.swapaxes(0, 1))
        outputs = checkpoint_name(outputs.swapaxes(0, 1).astype(layers.compute or outer), "lstm")
        logits = layers.linear("head", outputs[:, -1], params["head.weight"], params["head.bias"])
        return layers.cross_entropy(logits, target)

    return loss_fn


FAULTS = {
    "label smoothing": {"smoothing": 1e-2},
    "logits scaled": {"logits": 1.001},
    "loss scaled": {"loss": 1.001},
    "gates swapped": {"swapped": True},
}
IMPRECISE = {
    "float16 softmax": {"narrow": ("softmax", jnp.float16)},
    "bfloat16 softmax": {"narrow": ("softmax", jnp.bfloat16)},
    "float16 layer": {"narrow": ("lstm", jnp.float16)},
    "bfloat16 layer": {"narrow": ("lstm", jnp.bfloat16)},
    "tf32": {"tf32": True},
    "bare softmax": {"bare_softmax": True},
}
RECURRENT = Family("lstm", Network, make_data, write, FAULTS, IMPRECISE, width=16, wide=64, large_batch=8192)
