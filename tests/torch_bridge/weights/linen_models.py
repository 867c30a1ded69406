"""The models of `torch_models` in flax linen."""

import jax
import jax.numpy as jnp
from flax import linen as nn

FLOAT = jnp.float64


def conv(features, size, name, stride=1, padding=0, bias=True):
    return nn.Conv(features, size, stride, padding, use_bias=bias, name=name)


class BasicBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = jnp.moveaxis(x, 1, -1)
        norm = lambda name: nn.BatchNorm(True, name=name)  # noqa: E731
        h = nn.relu(norm("bn1")(conv(6, (3, 3), "conv1", 2, 1, False)(x)))
        h = norm("bn2")(conv(6, (3, 3), "conv2", 1, 1, False)(h))
        return jnp.moveaxis(nn.relu(h + norm("norm_proj")(conv(6, (1, 1), "conv_proj", 2, 0, False)(x))), -1, 1)


class UNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        a = nn.relu(conv(4, (3, 3), "enc1", 1, 1)(jnp.moveaxis(x, 1, -1)))
        b = nn.relu(conv(8, (3, 3), "enc2", 2, 1)(a))
        b = nn.ConvTranspose(4, (2, 2), (2, 2), padding="VALID")(b)
        y = nn.relu(conv(4, (3, 3), "dec", 1, 1)(jnp.concatenate([b, a], -1)))
        y = nn.ConvTranspose(4, (3, 3), (2, 2), padding=((1, 2), (1, 2)))(y)
        return jnp.moveaxis(conv(1, (1, 1), "head")(y), -1, 1)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        mask = jnp.tril(jnp.ones((x.shape[1],) * 2, bool))
        x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm(epsilon=1e-5)(x), mask=mask)
        return x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.LayerNorm(epsilon=1e-5)(x))))


class GPT(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(11, 8)
        x = embed(tokens) + nn.Embed(5, 8)(jnp.arange(tokens.shape[1]))
        for _ in range(2):
            x = Block()(x)
        return embed.attend(nn.LayerNorm(epsilon=1e-5)(x))


class Tagger(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(9, 5)(tokens)
        for depth in range(2):
            forward = nn.RNN(nn.LSTMCell(4, param_dtype=FLOAT, name=f"forward_{depth}"))
            backward = nn.RNN(
                nn.OptimizedLSTMCell(4, param_dtype=FLOAT, name=f"backward_{depth}"), reverse=True, keep_order=True
            )
            x = jnp.concatenate([forward(x), backward(x)], -1)
        return nn.Dense(3)(x)


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.RNN(nn.GRUCell(4, param_dtype=FLOAT))(x))


class Norms(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.Conv(6, (3,), padding="VALID")(jnp.moveaxis(x, 1, -1))
        h = nn.GroupNorm(2, epsilon=1e-5)(jnp.tanh(nn.BatchNorm(True)(h)))
        return nn.RMSNorm()(jnp.tanh(nn.LayerNorm(epsilon=1e-5)(nn.Dense(6)(h.mean(1)))))


NORMS = {f"h.*.ln_{i + 1}": f"Block_*/LayerNorm_{i}" for i in range(2)}
OVERRIDES = {"gpt": NORMS}
"""What linen's own names leave open."""

MODELS = {"resnet": BasicBlock, "unet": UNet, "gpt": GPT, "tagger": Tagger, "gru": Recurrent, "norms": Norms}


def port(name, x):
    """The JAX variables of a model, and a function ``(variables, x) -> outputs``."""
    model = MODELS[name]()
    return jax.jit(model.init)(jax.random.key(0), x), jax.jit(model.apply)
