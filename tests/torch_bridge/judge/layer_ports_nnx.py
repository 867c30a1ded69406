"""The networks of `layer_nets` in flax nnx, each with room for one fault."""

import jax
import jax.numpy as jnp
from flax import nnx

from tests.torch_bridge.judge.layer_faults import fault


@jax.custom_vjp
def doubled(x):
    """The identity, with a wrong derivative."""
    return x


doubled.defvjp(lambda x: (x, None), lambda _, gradient: (2 * gradient,))


class Strided(nnx.Conv):
    def __call__(self, x):
        kernel, bias, axes = self.kernel[...], self.bias[...], ("NHWC", "HWIO", "NHWC")
        same = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=axes) + bias
        return fault("padding", same, super().__call__(x))


class Convolutions(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Conv(2, 4, (3, 3), padding=1, rngs=rngs)
        self.bn = nnx.BatchNorm(4, rngs=rngs)
        self.conv1 = nnx.Conv(4, 4, (3, 3), padding=1, rngs=rngs)
        self.gn = nnx.GroupNorm(4, num_groups=2, rngs=rngs)
        self.conv2 = Strided(4, 4, (3, 3), strides=2, padding=1, rngs=rngs)
        self.head = nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x):
        first, second = self.conv1.kernel[...], self.conv2.kernel[...]
        self.conv1.kernel = nnx.Param(fault("swapped", second, fault("kernel", first.transpose(1, 0, 2, 3), first)))
        self.conv2.kernel = nnx.Param(fault("swapped", first, second))
        self.bn.epsilon, self.gn.epsilon = fault("eps", 1.01e-5, 1e-5), fault("eps of groups", 1e-6, 1e-5)
        h = self.bn(self.stem(jnp.moveaxis(x, 1, -1)))
        h = self.gn(self.conv1(fault("function", nnx.leaky_relu(h), nnx.relu(h))))
        h = fault("module", nnx.gelu(h), nnx.silu(h))
        h = self.conv2(fault("stopped gradient", jax.lax.stop_gradient(h), h))
        h = nnx.avg_pool(fault("derivative", doubled(h), h), (2, 2), (2, 2))
        return self.head(jnp.moveaxis(h, -1, 1).reshape(len(h), -1))


class Attention(nnx.Module):
    def __init__(self, rngs):
        self.qkv, self.proj = nnx.Linear(8, 24, rngs=rngs), nnx.Linear(8, 8, rngs=rngs)

    def __call__(self, x):
        q, k, v = jnp.moveaxis(self.qkv(x).reshape(*x.shape[:2], 3, 2, 4), 2, 0)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * fault("scale", 1.0, 0.5)
        weights = jax.nn.softmax(jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf))
        return self.proj(jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape))


class Block(nnx.Module):
    def __init__(self, rngs):
        self.ln_1, self.ln_2 = nnx.LayerNorm(8, epsilon=1e-5, rngs=rngs), nnx.LayerNorm(8, rngs=rngs)
        self.attn = Attention(rngs)
        self.mlp = nnx.List([nnx.Linear(8, 8, rngs=rngs) for _ in range(2)])

    def __call__(self, x):
        self.ln_2.epsilon = fault("eps", 1e-6, 1e-5)
        first, second = self.mlp[0].kernel[...], self.mlp[1].kernel[...]
        self.mlp[0].kernel = nnx.Param(fault("swapped", second, fault("kernel", first.T, first)))
        self.mlp[1].kernel = nnx.Param(fault("swapped", first, second))
        x = fault("residual", 0.0, x) + self.attn(self.ln_1(x))
        h = self.mlp[0](self.ln_2(x))
        return x + self.mlp[1](fault("module", nnx.gelu(h, approximate=True), nnx.gelu(h, approximate=False)))


class GPT(nnx.Module):
    def __init__(self, rngs):
        self.wte, self.wpe = nnx.Embed(7, 8, rngs=rngs), nnx.Embed(5, 8, rngs=rngs)
        self.block, self.ln_f = Block(rngs), nnx.LayerNorm(8, epsilon=1e-5, rngs=rngs)

    def __call__(self, tokens):
        positions = fault("positions", jnp.array([1, 2, 3, 4, 4]), jnp.arange(5))
        x = self.ln_f(self.block(self.wte(tokens) + self.wpe(positions)))
        return self.wte.attend(fault("derivative", doubled(x), x)).mean(1)


class LSTM(nnx.Module):
    """A cell with torch's two biases, over all steps."""

    def __init__(self, rngs):
        self.dense_i, self.dense_h = nnx.Linear(4, 16, rngs=rngs), nnx.Linear(4, 16, rngs=rngs)

    def __call__(self, x):
        def step(state, gates):
            h, c = state
            i, f, g, o = jnp.split(gates + self.dense_h(h), 4, -1)
            i, f = fault("order of the gates", jnp.stack([f, i]), jnp.stack([i, f]))
            c = nnx.sigmoid(f) * c + nnx.sigmoid(i) * jnp.tanh(g)
            h = nnx.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((len(x), 4), x.dtype)
        return jax.lax.scan(step, (zeros, zeros), self.dense_i(x).swapaxes(0, 1))[1].swapaxes(0, 1)


class GRU(nnx.Module):
    """Over all steps, time first."""

    def __init__(self, rngs):
        self.dense_i, self.dense_h = nnx.Linear(4, 12, rngs=rngs), nnx.Linear(4, 12, rngs=rngs)

    def __call__(self, x):
        def step(h, gates):
            (ir, iz, i_n), (hr, hz, hn) = (jnp.split(y, 3, -1) for y in (gates, self.dense_h(h)))
            r, z = nnx.sigmoid(ir + hr), nnx.sigmoid(iz + hz)
            h = (1 - z) * jnp.tanh(i_n + hn * fault("reset gate", 1.0, r)) + z * h
            return h, h

        return jax.lax.scan(step, jnp.zeros((x.shape[1], 4), x.dtype), self.dense_i(x))[1]


class Tagger(nnx.Module):
    def __init__(self, rngs):
        self.embed, self.lstm, self.gru = nnx.Embed(7, 4, rngs=rngs), LSTM(rngs), GRU(rngs)
        self.tags = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, tokens):
        h = self.lstm(self.embed(tokens))
        h = self.gru(fault("function", jnp.tanh(h), h).swapaxes(0, 1))
        h = fault("derivative", doubled(h), h)
        return self.tags(fault("first step", h[0], h[-1]))


MODELS = {"convolutions": Convolutions, "transformer": GPT, "recurrent": Tagger}


def port(name):
    """The JAX parameters of a network, and its logits: a function ``(params, x)``."""
    graph, params, rest = nnx.split(MODELS[name](nnx.Rngs(0)), nnx.Param, ...)
    return params, lambda params, x: nnx.merge(graph, params, rest, copy=True)(x)
