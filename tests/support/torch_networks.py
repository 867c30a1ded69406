"""Small networks written once, to be run by torch and by JAX on the same float64 numbers."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import torch


def _jax_conv(x, w):
    return jax.lax.conv_general_dilated(x, w, (2, 2), "SAME_LOWER")


def _torch_softplus(x):
    return torch.logaddexp(x, torch.zeros_like(x))  # torch's own is the identity beyond 20: 2e-9 off


def _torch_conv(x, w):
    return torch.nn.functional.conv2d(x, w, stride=2, padding=1)


TORCH = SimpleNamespace(
    tanh=torch.tanh, relu=torch.relu, conv=_torch_conv, softmax=lambda x: torch.softmax(x, -1),
    logsumexp=lambda x: torch.logsumexp(x, -1), softplus=_torch_softplus, sqrt=torch.sqrt,
)  # fmt: skip
JAX = SimpleNamespace(
    tanh=jnp.tanh, relu=jax.nn.relu, conv=_jax_conv, softmax=jax.nn.softmax,
    logsumexp=lambda x: jax.nn.logsumexp(x, axis=-1), softplus=jax.nn.softplus, sqrt=jnp.sqrt,
)  # fmt: skip


def _cross_entropy(logits, y, ops):
    return (ops.logsumexp(logits) - (logits * y).sum(-1)).mean()


def logistic(p, x, y, ops):
    z = x @ p["w"] + p["b"]
    return (ops.softplus(z) - y[:, 0] * z).mean()


def mlp(p, x, y, ops):
    hidden = ops.relu(ops.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"])
    return _cross_entropy(hidden @ p["w3"], y, ops)


def convolutional(p, x, y, ops):
    hidden = ops.tanh(ops.conv(x.reshape(-1, 1, 8, 8), p["w1"]))
    hidden = ops.relu(ops.conv(hidden, p["w2"]))
    return _cross_entropy(hidden.reshape(len(x), -1) @ p["w3"], y, ops)


def transformer_block(p, x, y, ops):
    def normalised(h):
        centred = h - h.mean(-1)[..., None]
        return centred / ops.sqrt((centred * centred).mean(-1)[..., None] + 1e-5)

    h = x.reshape(-1, 8, 8)
    q, k, v = (normalised(h) @ p[name] for name in ("q", "k", "v"))
    h = h + ops.softmax(q @ k.swapaxes(-1, -2) / 8**0.5) @ v @ p["o"]
    h = h + ops.tanh(normalised(h) @ p["w1"]) @ p["w2"]
    return _cross_entropy(h.mean(1) @ p["w3"], y, ops)


SHAPES = {
    logistic: {"w": (64,), "b": ()},
    mlp: {"w1": (64, 20), "b1": (20,), "w2": (20, 15), "b2": (15,), "w3": (15, 3)},
    convolutional: {"w1": (4, 1, 3, 3), "w2": (6, 4, 3, 3), "w3": (24, 3)},
    transformer_block: {name: (8, 8) for name in "qkvo"} | {"w1": (8, 16), "w2": (16, 8), "w3": (8, 3)},
}


def drawn(network, seed):
    """Parameters, a direction and a batch of 12, as NumPy arrays."""
    rng = np.random.default_rng(seed)
    params = {
        name: rng.normal(size=shape) / max(1, np.prod(shape[1:])) ** 0.5 for name, shape in SHAPES[network].items()
    }
    direction = {name: rng.normal(size=shape) for name, shape in SHAPES[network].items()}
    return params, direction, rng.normal(size=(12, 64)), np.eye(3)[rng.integers(0, 3, 12)]


def double_backward(network, params, direction, x, y):
    """Value, d'g and d'Hd by torch's own double backward."""
    p = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    d = [torch.tensor(value) for value in direction.values()]
    value = network(p, torch.tensor(x), torch.tensor(y), TORCH)
    grads = torch.autograd.grad(value, list(p.values()), create_graph=True)
    slope = sum((g * v).sum() for g, v in zip(grads, d, strict=True))
    products = torch.autograd.grad(slope, list(p.values()))
    return value.item(), slope.item(), sum((h * v).sum() for h, v in zip(products, d, strict=True)).item()
