"""The models of `torch_models` in equinox."""

import equinox as eqx
import jax
import jax.numpy as jnp
from equinox import nn


def keys(seed=0):
    return iter(jax.random.split(jax.random.key(seed), 20))


class BasicBlock(eqx.Module):
    conv1: nn.Conv2d
    bn1: nn.BatchNorm
    conv2: nn.Conv2d
    bn2: nn.BatchNorm
    downsample: list

    def __init__(self):
        key = keys()
        norm = lambda: nn.BatchNorm(6, "batch", momentum=0.9, mode="ema")  # noqa: E731
        self.conv1 = nn.Conv2d(4, 6, 3, 2, 1, use_bias=False, key=next(key))
        self.bn1 = norm()
        self.conv2 = nn.Conv2d(6, 6, 3, 1, 1, use_bias=False, key=next(key))
        self.bn2 = norm()
        self.downsample = [nn.Conv2d(4, 6, 1, 2, use_bias=False, key=next(key)), norm()]

    def __call__(self, x, state):
        h, state = self.bn1(self.conv1(x), state, inference=True)
        h, state = self.bn2(self.conv2(jax.nn.relu(h)), state, inference=True)
        y, state = self.downsample[1](self.downsample[0](x), state, inference=True)
        return jax.nn.relu(h + y)


class UNet(eqx.Module):
    enc1: nn.Conv2d
    enc2: nn.Conv2d
    up1: nn.ConvTranspose2d
    dec: nn.Conv2d
    up2: nn.ConvTranspose2d
    head: nn.Conv2d

    def __init__(self):
        key = keys()
        self.enc1 = nn.Conv2d(2, 4, 3, 1, 1, key=next(key))
        self.enc2 = nn.Conv2d(4, 8, 3, 2, 1, key=next(key))
        self.up1 = nn.ConvTranspose2d(8, 4, 2, 2, key=next(key))
        self.dec = nn.Conv2d(8, 4, 3, 1, 1, key=next(key))
        self.up2 = nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, key=next(key))
        self.head = nn.Conv2d(4, 1, 1, key=next(key))

    def __call__(self, x):
        a = jax.nn.relu(self.enc1(x))
        b = self.up1(jax.nn.relu(self.enc2(a)))
        return self.head(self.up2(jax.nn.relu(self.dec(jnp.concatenate([b, a])))))


class Block(eqx.Module):
    ln_1: nn.LayerNorm
    attn: nn.MultiheadAttention
    ln_2: nn.LayerNorm
    mlp: list

    def __init__(self, key):
        self.ln_1, self.ln_2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attn = nn.MultiheadAttention(
            2, 8, key=next(key), use_query_bias=True, use_key_bias=True, use_value_bias=True, use_output_bias=True
        )
        self.mlp = [nn.Linear(8, 16, key=next(key)), nn.Linear(16, 8, key=next(key))]

    def __call__(self, x):
        h = jax.vmap(self.ln_1)(x)
        x = x + self.attn(h, h, h, mask=jnp.tril(jnp.ones((len(x), len(x)), bool)))
        return x + jax.vmap(lambda v: self.mlp[1](jax.nn.gelu(self.mlp[0](self.ln_2(v)))))(x)


class GPT(eqx.Module):
    wte: nn.Embedding
    wpe: nn.Embedding
    blocks: list
    ln_f: nn.LayerNorm

    def __init__(self):
        key = keys()
        self.wte, self.wpe = nn.Embedding(11, 8, key=next(key)), nn.Embedding(5, 8, key=next(key))
        self.blocks = [Block(key) for _ in range(2)]
        self.ln_f = nn.LayerNorm(8)

    def __call__(self, tokens):
        x = self.wte.weight[tokens] + self.wpe.weight
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.ln_f)(x) @ self.wte.weight.T


def scanned(cell, carry, xs, out, reverse=False):
    def step(carry, x):
        carry = cell(x, carry)
        return carry, out(carry)

    return jax.lax.scan(step, carry, xs, reverse=reverse)[1]


class Tagger(eqx.Module):
    embed: nn.Embedding
    fwd: list
    bwd: list
    tags: nn.Linear

    def __init__(self):
        key = keys()
        self.embed = nn.Embedding(9, 5, key=next(key))
        self.fwd = [nn.LSTMCell(n, 4, key=next(key)) for n in (5, 8)]
        self.bwd = [nn.LSTMCell(n, 4, key=next(key)) for n in (5, 8)]
        self.tags = nn.Linear(8, 3, key=next(key))

    def __call__(self, tokens):
        x = self.embed.weight[tokens]
        for forward, backward in zip(self.fwd, self.bwd, strict=True):
            zeros = jnp.zeros(4, x.dtype), jnp.zeros(4, x.dtype)
            out = lambda carry: carry[0]  # noqa: E731
            x = jnp.concatenate([scanned(forward, zeros, x, out), scanned(backward, zeros, x, out, True)], -1)
        return jax.vmap(self.tags)(x)


class Recurrent(eqx.Module):
    cell: nn.GRUCell
    out: nn.Linear

    def __init__(self):
        key = keys()
        self.cell, self.out = nn.GRUCell(3, 4, key=next(key)), nn.Linear(4, 2, key=next(key))

    def __call__(self, x):
        return jax.vmap(self.out)(scanned(self.cell, jnp.zeros(4, x.dtype), x, lambda carry: carry))


class Norms(eqx.Module):
    conv: nn.Conv1d
    batch: nn.BatchNorm
    group: nn.GroupNorm
    linear: nn.Linear
    layer: nn.LayerNorm
    rms: nn.RMSNorm

    def __init__(self):
        key = keys()
        self.conv = nn.Conv1d(3, 6, 3, key=next(key))
        self.batch = nn.BatchNorm(6, "batch", mode="batch")
        self.group = nn.GroupNorm(2, 6)
        self.linear = nn.Linear(6, 6, key=next(key))
        self.layer = nn.LayerNorm(6)
        self.rms = nn.RMSNorm(6, eps=1e-6, use_bias=False)

    def __call__(self, x, state):
        h, state = self.batch(self.conv(x), state, inference=True)
        return self.rms(jnp.tanh(self.layer(self.linear(self.group(jnp.tanh(h)).mean(1)))))


MODELS = {"resnet": BasicBlock, "unet": UNet, "gpt": GPT, "tagger": Tagger, "gru": Recurrent, "norms": Norms}


def port(name, x):
    """The JAX parameters of a model (and its state), and a function ``(params, x) -> outputs``."""
    model, state = nn.make_with_state(MODELS[name])()
    if name in ("resnet", "norms"):
        return (model, state), eqx.filter_jit(
            lambda params, x: jax.vmap(lambda each: params[0](each, params[1]), axis_name="batch")(x)
        )
    return model, eqx.filter_jit(lambda params, x: jax.vmap(params)(x))
