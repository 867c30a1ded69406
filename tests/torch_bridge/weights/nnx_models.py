"""The models of `torch_models` in flax nnx."""

import jax
import jax.numpy as jnp
from flax import nnx

FLOAT = jnp.float64


def channels_last(x):
    return jnp.moveaxis(x, 1, -1)


def conv(i, o, k, rngs, **options):
    return nnx.Conv(i, o, k, rngs=rngs, **options)


class BasicBlock(nnx.Module):
    def __init__(self, rngs):
        self.conv1 = conv(4, 6, (3, 3), rngs, strides=2, padding=1, use_bias=False)
        self.bn1 = nnx.BatchNorm(6, use_running_average=True, rngs=rngs)
        self.conv2 = conv(6, 6, (3, 3), rngs, padding=1, use_bias=False)
        self.bn2 = nnx.BatchNorm(6, use_running_average=True, rngs=rngs)
        self.shortcut = nnx.List(
            [
                conv(4, 6, (1, 1), rngs, strides=2, padding=0, use_bias=False),
                nnx.BatchNorm(6, use_running_average=True, rngs=rngs),
            ]
        )

    def __call__(self, x):
        x = channels_last(x)
        h = self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x)))))
        return jnp.moveaxis(nnx.relu(h + self.shortcut[1](self.shortcut[0](x))), -1, 1)


class UNet(nnx.Module):
    def __init__(self, rngs):
        self.enc1 = conv(2, 4, (3, 3), rngs, padding=1)
        self.enc2 = conv(4, 8, (3, 3), rngs, strides=2, padding=1)
        self.up1 = nnx.ConvTranspose(8, 4, (2, 2), 2, padding="VALID", transpose_kernel=True, rngs=rngs)
        self.dec = conv(8, 4, (3, 3), rngs, padding=1)
        self.up2 = nnx.ConvTranspose(4, 4, (3, 3), 2, padding=((1, 2), (1, 2)), rngs=rngs)
        self.head = conv(4, 1, (1, 1), rngs)

    def __call__(self, x):
        a = nnx.relu(self.enc1(channels_last(x)))
        b = self.up1(nnx.relu(self.enc2(a)))
        y = self.head(self.up2(nnx.relu(self.dec(jnp.concatenate([b, a], -1)))))
        return jnp.moveaxis(y, -1, 1)


def attention(query, key, value, mask, **options):
    """As in flax, which computes the softmax in float32 even where all else is float64."""
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(jnp.where(mask, logits, -jnp.inf)), value)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.ln_1 = nnx.LayerNorm(8, epsilon=1e-5, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, attention_fn=attention, decode=False, rngs=rngs)
        self.ln_2 = nnx.LayerNorm(8, epsilon=1e-5, rngs=rngs)
        self.fc_in = nnx.Linear(8, 16, rngs=rngs)
        self.fc_out = nnx.Linear(16, 8, rngs=rngs)

    def __call__(self, x):
        n = x.shape[1]
        x = x + self.attention(self.ln_1(x), mask=jnp.tril(jnp.ones((n, n), bool)))
        return x + self.fc_out(nnx.gelu(self.fc_in(self.ln_2(x))))


class GPT(nnx.Module):
    def __init__(self, rngs):
        self.tokens = nnx.Embed(11, 8, param_dtype=FLOAT, rngs=rngs)
        self.positions = nnx.Embed(5, 8, param_dtype=FLOAT, rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(2)])
        self.ln_f = nnx.LayerNorm(8, epsilon=1e-5, rngs=rngs)

    def __call__(self, tokens):
        x = self.tokens(tokens) + self.positions(jnp.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.tokens.attend(self.ln_f(x))


class Tagger(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(9, 5, param_dtype=FLOAT, rngs=rngs)
        self.forwards = nnx.List(
            [nnx.RNN(nnx.OptimizedLSTMCell(n, 4, param_dtype=FLOAT, rngs=rngs), rngs=rngs) for n in (5, 8)]
        )
        self.backward = nnx.List(
            [
                nnx.RNN(nnx.LSTMCell(n, 4, param_dtype=FLOAT, rngs=rngs), reverse=True, keep_order=True, rngs=rngs)
                for n in (5, 8)
            ]
        )
        self.tags = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens)
        for forward, backward in zip(self.forwards, self.backward, strict=True):
            x = jnp.concatenate([forward(x), backward(x)], -1)
        return self.tags(x)


class GRUCell(nnx.Module):
    """torch's cell: the state's part of the new gate has a bias, which ``nnx.GRUCell`` lacks."""

    def __init__(self, rngs):
        self.dense_i = nnx.Linear(3, 12, rngs=rngs)
        self.dense_h = nnx.Linear(4, 12, rngs=rngs)

    def __call__(self, h, x):
        (ir, iz, i_n), (hr, hz, hn) = (jnp.split(y, 3, -1) for y in (self.dense_i(x), self.dense_h(h)))
        r, z = nnx.sigmoid(ir + hr), nnx.sigmoid(iz + hz)
        return (1 - z) * jnp.tanh(i_n + r * hn) + z * h


class Recurrent(nnx.Module):
    def __init__(self, rngs):
        self.cell = GRUCell(rngs)
        self.out = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        h, states = jnp.zeros((x.shape[0], 4), x.dtype), []
        for t in range(x.shape[1]):
            h = self.cell(h, x[:, t])
            states.append(h)
        return self.out(jnp.stack(states, 1))


class Norms(nnx.Module):
    def __init__(self, rngs):
        self.conv = conv(3, 6, (3,), rngs, padding="VALID")
        self.bn = nnx.BatchNorm(6, use_running_average=True, rngs=rngs)
        self.gn = nnx.GroupNorm(6, num_groups=2, epsilon=1e-5, rngs=rngs)
        self.dense = nnx.Linear(6, 6, rngs=rngs)
        self.ln = nnx.LayerNorm(6, epsilon=1e-5, rngs=rngs)
        self.last = nnx.RMSNorm(6, rngs=rngs)

    def __call__(self, x):
        h = self.gn(jnp.tanh(self.bn(self.conv(channels_last(x)))))
        return self.last(jnp.tanh(self.ln(self.dense(h.mean(1)))))


MODELS = {"resnet": BasicBlock, "unet": UNet, "gpt": GPT, "tagger": Tagger, "gru": Recurrent, "norms": Norms}


def port(name, x):
    """The JAX parameters of a model, and a function ``(params, x) -> outputs``."""
    model = MODELS[name](nnx.Rngs(0))
    return model, jax.jit(lambda params, x: params(x))
