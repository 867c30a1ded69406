"""The networks of `layer_nets` in flax linen, each with room for one fault."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from tests.torch_bridge.judge.layer_faults import fault
from tests.torch_bridge.judge.layer_ports_nnx import doubled

OVERRIDES = {"transformer": {"block.ln_*": "Block_0/ln_*"}}


class Convolutions(nn.Module):
    @nn.compact
    def __call__(self, x):
        norm = nn.BatchNorm(False, epsilon=fault("eps", 1.01e-5, 1e-5), name="bn")
        h = norm(nn.Conv(4, (3, 3), padding=1, name="stem")(jnp.moveaxis(x, 1, -1)))
        h = nn.Conv(4, (3, 3), padding=1, name="conv1")(fault("function", nn.leaky_relu(h), nn.relu(h)))
        h = nn.GroupNorm(2, epsilon=fault("eps of groups", 1e-6, 1e-5), name="gn")(h)
        h = fault("module", nn.gelu(h), nn.silu(h))
        h = fault("stopped gradient", jax.lax.stop_gradient(h), h)
        h = nn.Conv(4, (3, 3), 2, 1, name="conv2")(h)
        h = nn.avg_pool(fault("derivative", doubled(h), h), (2, 2), (2, 2))
        return nn.Dense(3)(jnp.moveaxis(h, -1, 1).reshape(len(h), -1))


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x):
        q, k, v = jnp.moveaxis(nn.Dense(24, name="qkv")(x).reshape(*x.shape[:2], 3, 2, 4), 2, 0)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * fault("scale", 1.0, 0.5)
        weights = jax.nn.softmax(jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf))
        return nn.Dense(8, name="proj")(jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = Attention()(nn.LayerNorm(epsilon=1e-5, name="ln_1")(x))
        x = fault("residual", 0.0, x) + h
        h = nn.LayerNorm(epsilon=fault("eps", 1e-6, 1e-5), name="ln_2")(x)
        h = nn.Dense(8, name="mlp_0")(h)
        return x + nn.Dense(8, name="mlp_2")(fault("module", nn.gelu(h), nn.gelu(h, approximate=False)))


class GPT(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(7, 8)
        x = embed(tokens) + nn.Embed(5, 8)(fault("positions", jnp.array([1, 2, 3, 4, 4]), jnp.arange(5)))
        x = nn.LayerNorm(epsilon=1e-5, name="ln_f")(Block()(x))
        return embed.attend(fault("derivative", doubled(x), x)).mean(1)


class LSTM(nn.Module):
    """A cell with torch's two biases, over all steps."""

    @nn.compact
    def __call__(self, x):
        gates, dense = nn.Dense(16, name="dense_i")(x), nn.Dense(16, name="dense_h")
        h = c = jnp.zeros((len(x), 4), x.dtype)
        states = []
        for t in range(x.shape[1]):
            i, f, g, o = jnp.split(gates[:, t] + dense(h), 4, -1)
            i, f = fault("order of the gates", jnp.stack([f, i]), jnp.stack([i, f]))
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            states.append(h)
        return jnp.stack(states, 1)


class GRUCell(nn.Module):
    """torch's cell, which has a bias that linen's lacks for its first gates."""

    @nn.compact
    def __call__(self, h, x):
        gates = nn.Dense(12, name="dense_i")(x), nn.Dense(12, name="dense_h")(h)
        (ir, iz, i_n), (hr, hz, hn) = (jnp.split(y, 3, -1) for y in gates)
        r, z = nn.sigmoid(ir + hr), nn.sigmoid(iz + hz)
        h = (1 - z) * jnp.tanh(i_n + hn * fault("reset gate", 1.0, r)) + z * h
        return h, h

    num_feature_axes = 1

    def initialize_carry(self, rng, shape):
        return jnp.zeros((*shape[:-1], 4))


class Tagger(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        h = LSTM()(nn.Embed(7, 4)(tokens))
        h = nn.RNN(GRUCell(), time_major=True)(fault("function", jnp.tanh(h), h).swapaxes(0, 1))
        h = fault("derivative", doubled(h), h)
        return nn.Dense(3)(fault("first step", h[0], h[-1]))


MODELS = {"convolutions": Convolutions, "transformer": GPT, "recurrent": Tagger}
EXCHANGED = {"convolutions": (("conv1",), ("conv2",), (1, 0, 2, 3)),
             "transformer": (("Block_0", "mlp_0"), ("Block_0", "mlp_2"), (1, 0))}  # fmt: skip
"""Two layers of equal shapes, and the order of axes in which the first one's kernel is wrong."""


def with_faulty_kernels(name, params):
    if name not in EXCHANGED:
        return params
    first, second, axes = EXCHANGED[name]
    params = jax.tree.map(lambda x: x, params)
    one, two = params, params
    for a, b in zip(first, second, strict=True):
        one, two = one[a], two[b]
    mine, other = one["kernel"], two["kernel"]
    one["kernel"] = fault("swapped", other, fault("kernel", mine.transpose(axes), mine))
    two["kernel"] = fault("swapped", mine, other)
    return params


def port(name):
    """The JAX parameters of a network, and its logits: a function ``(params, x)``."""
    model, x = MODELS[name](), jnp.zeros((8, 2, 8, 8) if name == "convolutions" else (8, 5), jnp.int32)
    variables = jax.jit(model.init)(jax.random.key(0), x * 1.0 if name == "convolutions" else x)

    def logits(params, x):
        given = {**variables, "params": with_faulty_kernels(name, params)}
        return model.apply(given, x, mutable=["batch_stats"])[0]

    return variables["params"], logits
