"""Every entry inside the loss function, planted in a port of one of `function_nets`; and correct ports of these."""

import operator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from tests.torch_bridge.judge.causes.function_nets import WEIGHTS, recorded


def dense(p, name, x):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def layer_norm(p, name, x, eps=1e-5, axes=-1, ddof=0):
    normal = (x - x.mean(axes, keepdims=True)) / jnp.sqrt(x.var(axes, keepdims=True, ddof=ddof) + eps)
    return normal * p[f"{name}.weight"] + p[f"{name}.bias"]


def rms_norm(p, name, x):
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * p[f"{name}.weight"]


def without_bias(p, name, x):
    return x @ p[f"{name}.weight"].T


def nll(z, y):
    return -jnp.take_along_axis(z, y[..., None], -1)[..., 0]


def cross_entropy(z, y):
    return nll(jax.nn.log_softmax(z), y).mean()


def exact_gelu(x):
    return jax.nn.gelu(x, approximate=False)


def perceptron(*, act=exact_gelu, first=dense, second=dense, last=dense, norm=layer_norm, residual=lambda h: h,
               join=operator.add, end=jnp.tanh, loss=cross_entropy):  # fmt: skip
    def loss_fn(p, batch):
        x, y = batch
        h = act(first(p, "first", x))
        h = join(second(p, "second", norm(p, "norm", h)), residual(h))
        return loss(last(p, "last", end(h)), y)

    return loss_fn


def conv(p, name, x, stride=1, padding=((1, 1), (1, 1)), kernel=lambda k: k):
    axes = ("NHWC", "HWIO", "NHWC")
    weight = kernel(p[f"{name}.weight"].transpose(2, 3, 1, 0))
    h = jax.lax.conv_general_dilated(x, weight, (stride, stride), padding, dimension_numbers=axes)
    return h + p[f"{name}.bias"]


def padded(mode):
    def of(p, name, x, stride=1):
        return conv(p, name, jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode), stride, "VALID")

    return of


def batch_norm(p, name, x, axes=(0, 1, 2)):
    return layer_norm(p, name, x, axes=axes)


WINDOW = {
    "window_dimensions": (1, 3, 3, 1),
    "window_strides": (1, 2, 2, 1),
    "padding": ((0, 0), (1, 1), (1, 1), (0, 0)),
}


def window_sum(x, **changes):
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, **{**WINDOW, **changes})


def mean_pool(x):
    return window_sum(x) / 9


def mean_pool_without_padding(x):
    return window_sum(x) / window_sum(jnp.ones_like(x))


def max_pool(x, **changes):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, **{**WINDOW, **changes})


AT_THE_END = ((0, 0), (0, 1), (0, 1), (0, 0))


def as_nchw(x):
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def convolutions(*, stem=conv, second=conv, norm=batch_norm, pool=mean_pool, flat=as_nchw, act=jax.nn.relu):
    def loss_fn(p, batch):
        x, y = batch
        h = act(norm(p, "bn", stem(p, "stem", x.transpose(0, 2, 3, 1), stride=2)))
        h = pool(act(second(p, "conv", h)))
        return cross_entropy(dense(p, "head", flat(h)), y)

    return loss_fn


def evaluated(**how):
    """With the running statistics of a model state, as torch begins with them."""

    def loss_fn(p, batch, state):
        def norm(p, name, x):
            root = jnp.sqrt(state["bn.running_var"] + 1e-5)
            return (x - state["bn.running_mean"]) / root * p["bn.weight"] + p["bn.bias"]

        return convolutions(norm=norm, **how)(p, batch), state

    return loss_fn


def with_state(loss_fn):
    """With a model state that it does not look at."""
    return lambda p, batch, state: (loss_fn(p, batch), state)


def causal(scores, k=0):
    return jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool), k), scores, -jnp.inf)


def heads(x):
    return x.reshape(*x.shape[:2], 3, 2, 4).transpose(2, 0, 3, 1, 4)


def merged(x):
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def transformer(*, split=heads, scale=lambda d: d**-0.5, mask=causal, merge=merged, softmax=jax.nn.softmax,
                gelu=exact_gelu, pool=lambda x: x.mean(1), residual=lambda x: x, embed=lambda e: e, loss=cross_entropy,
                positions=lambda wpe: wpe):  # fmt: skip
    def loss_fn(p, batch):
        tokens, y = batch
        x = embed(p["wte.weight"][tokens]) + positions(p["wpe.weight"])
        q, k, v = split(dense(p, "qkv", layer_norm(p, "ln_1", x)))
        scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * scale(q.shape[-1])
        x = residual(x) + dense(p, "proj", merge(softmax(mask(scores)) @ v))
        x = x + dense(p, "down", gelu(dense(p, "up", layer_norm(p, "ln_2", x))))
        return loss(dense(p, "head", pool(x)), y)

    return loss_fn


def recurrent(*, cell=jnp.tanh, gate=jax.nn.sigmoid, forget=0.0, out=jnp.tanh):
    def loss_fn(p, batch):
        x, y = batch
        bias = p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"]

        def step(state, x):
            h, c = state
            i, f, g, o = jnp.split(x @ p["lstm.weight_ih_l0"].T + h @ p["lstm.weight_hh_l0"].T + bias, 4, -1)
            c = gate(f + forget) * c + gate(i) * cell(g)
            h = gate(o) * out(c)
            return (h, c), None

        zeros = jnp.zeros((len(x), 4), x.dtype)
        (h, _), _ = jax.lax.scan(step, (zeros, zeros), x.swapaxes(0, 1))
        return cross_entropy(dense(p, "head", h), y)

    return loss_fn


def dropped(scale):
    def loss_fn(p, batch):
        x, mask, y = batch
        return cross_entropy(dense(p, "last", jax.nn.relu(dense(p, "first", x)) * mask * scale), y)

    return loss_fn


def residual_of_nothing(h):
    return jnp.zeros((), h.dtype)


def mse(z, y):
    return ((z - y) ** 2).mean()


def huber(z, y, delta=1.0):
    return optax.huber_loss(z, y, delta=delta).mean()


def bce(z, y):
    return -(y * jnp.log(z) + (1 - y) * jnp.log(1 - z)).mean()


def weighted(z, y, mean):
    w = jnp.asarray(WEIGHTS.numpy())[y]
    losses = w * nll(jax.nn.log_softmax(z), y)
    return losses.sum() / (w.sum() if mean else len(y))


def tagged(z, y):
    losses = nll(jax.nn.log_softmax(z), y)
    return jnp.where(y == 0, 0, losses).sum() / (y != 0).sum()


def by_sum(z, y):
    """A logarithm of probabilities that are made by hand."""
    return -jnp.log(jnp.take_along_axis(jnp.exp(z), y[:, None], 1)[:, 0] / jnp.exp(z).sum(1)).mean()


ACTS = {
    "relu": jax.nn.relu, "gelu-tanh": jax.nn.gelu, "silu": jax.nn.silu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid,
    "leaky-relu": jax.nn.leaky_relu, "elu": jax.nn.elu, "selu": jax.nn.selu, "softplus": jax.nn.softplus,
    "hardtanh": jax.nn.hard_tanh, "softsign": jax.nn.soft_sign,
}  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """A port with a fault, of a recorded network.

    Attributes:
        net: the name in `function_nets.NETS`.
        loss_fn: ``loss_fn(params, batch)``, parameters by torch's names.
        buffers: for ``check(buffers=)``; with True it takes a model state, by torch's names as well.
    """

    net: str
    loss_fn: Any
    buffers: bool | None = None

    @property
    def trace(self):
        return recorded(self.net)[0]

    def data(self, step, indices):
        """For ``check(data=)``."""
        del indices
        return recorded(self.net)[1][step]


ON_PERCEPTRON = {
    "gelu-approximated": {"act": jax.nn.gelu},
    "activation-not-gelu": {"act": jax.nn.relu},
    "gelu-missing": {"act": lambda x: x},
    "epsilon-outside-root": {"norm": lambda p, n, x: (x - x.mean(-1, keepdims=True))
                             / (x.std(-1, keepdims=True) + 1e-5) * p["norm.weight"] + p["norm.bias"]},
    "variance-unbiased-in-norm": {"norm": partial(layer_norm, ddof=1)},
    "norm-axes": {"norm": partial(layer_norm, axes=0)},
    "softmax-extra": {"loss": lambda z, y: cross_entropy(jax.nn.softmax(z), y)},
    "softmax-axis": {"loss": lambda z, y: nll(jax.nn.log_softmax(z, 0), y).mean()},
    "log-missing": {"loss": lambda z, y: nll(jax.nn.softmax(z), y).mean()},
    "logits-as-log-probabilities": {"loss": lambda z, y: nll(z, y).mean()},
    "weight-transposed": {"second": lambda p, n, x: x @ p["second.weight"] + p["second.bias"]},
    "bias-missing": {"first": without_bias},
    "scale-missing": {"norm": lambda p, n, x: layer_norm({**p, "norm.weight": jnp.ones((), x.dtype)}, n, x)},
    "residual-missing": {"residual": residual_of_nothing},
    "sign-of-a-sum": {"join": operator.sub},
    "class-weights-extra": {"loss": partial(weighted, mean=True)},
}  # fmt: skip
"""Of the network with a gelu, a LayerNorm and a residual."""

ON_CONVOLUTIONS = {
    "convolution-padding": {"stem": partial(conv, padding="SAME")},
    "kernel-flipped": {"second": partial(conv, kernel=lambda k: k[::-1, ::-1])},
    "kernel-transposed": {"second": partial(conv, kernel=lambda k: k.swapaxes(0, 1))},
    "pooling-padding-not-counted": {"pool": mean_pool_without_padding},
    "pooling-not-mean": {"pool": max_pool},
    "flattened-in-another-order": {"flat": lambda x: x.reshape(len(x), -1)},
}
ON_TRANSFORMER = {
    "attention-unscaled": {"scale": lambda d: 1.0},
    "attention-scaled-twice": {"scale": lambda d: 1 / d},
    "causal-mask-missing": {"mask": lambda scores: scores},
    "causal-mask-wrong": {"mask": partial(causal, k=1)},
    "heads-split-in-another-order": {"split": lambda x: x.reshape(*x.shape[:2], 3, 4, 2).transpose(2, 0, 4, 1, 3)},
    "heads-merged-in-another-order": {"merge": lambda x: x.reshape(x.shape[0], x.shape[2], -1)},
    "reduced-not-mean": {"pool": lambda x: x.max(1)},
}  # fmt: skip

PLANTED = {
    **{name: Planted("perceptron", perceptron(**how)) for name, how in ON_PERCEPTRON.items()},
    **{name: Planted("convolutions", convolutions(**how)) for name, how in ON_CONVOLUTIONS.items()},
    **{name: Planted("transformer", transformer(**how)) for name, how in ON_TRANSFORMER.items()},
    "gelu-not-approximated": Planted("perceptron, gelu-tanh", perceptron()),
    **{f"activation-not-{name}": Planted(f"perceptron, {name}", perceptron(act=jax.nn.celu))
       for name in ("relu", "silu", "tanh", "sigmoid", "leaky-relu", "selu", "softplus", "mish", "relu6", "hardswish",
                    "hardtanh", "softsign")},
    "activation-not-gelu-tanh": Planted("perceptron, gelu-tanh", perceptron(act=jax.nn.silu)),
    "activation-not-elu": Planted("perceptron, elu", perceptron(act=jax.nn.silu)),
    "activation-extra": Planted("perceptron, none", perceptron(act=jax.nn.relu)),
    **{f"{name}-missing": Planted(f"perceptron, {name}", perceptron(act=lambda x: x))
       for name in ("relu", "silu", "tanh", "sigmoid", "leaky-relu", "gelu-tanh", "softplus", "elu")},
    "factor-missing": Planted("perceptron, temperature", perceptron()),
    "leaky-slope": Planted("perceptron, leaky-relu 0.25", perceptron(act=lambda x: jax.nn.leaky_relu(x, 0.125))),
    "elu-alpha": Planted("perceptron, elu 0.5", perceptron(act=jax.nn.elu)),
    "epsilon-inside-root": Planted("perceptron, root", perceptron(norm=partial(layer_norm, eps=1e-2))),
    "variance-biased-in-norm": Planted("perceptron, unbiased", perceptron()),
    "norm-centred": Planted("perceptron, rms", perceptron(
        norm=lambda p, n, x: (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
        * p["norm.weight"])),
    "residual-extra": Planted("perceptron, no residual", perceptron()),
    "softmax-missing": Planted("perceptron, probabilities", perceptron()),
    "log-extra": Planted("perceptron, expected", perceptron(
        loss=lambda z, y: (jax.nn.log_softmax(z) * jnp.arange(3)).sum(1).mean())),
    "class-weights-not-normalised": Planted("perceptron, weights", perceptron(loss=partial(weighted, mean=False))),
    "class-weights-normalised": Planted("perceptron, weights over n", perceptron(loss=partial(weighted, mean=True))),
    "ignored-labels-in-the-mean": Planted("perceptron, ignored in the mean", perceptron()),
    "ignored-labels-counted": Planted("transformer, tags", transformer(pool=lambda x: x)),
    "error-not-squared": Planted("regression", perceptron(loss=lambda z, y: jnp.abs(z - y).mean())),
    "error-not-absolute": Planted("regression, l1", perceptron(loss=mse)),
    "error-not-huber": Planted("regression, smooth", perceptron(loss=mse)),
    "smooth-l1-beta": Planted("regression, smooth 0.5", perceptron(loss=huber)),
    "huber-delta": Planted("regression, huber 0.5", perceptron(loss=huber)),
    "logits-as-probabilities": Planted("bits", perceptron(loss=lambda z, y: bce(jnp.clip(z, 1e-6, 1 - 1e-6), y))),
    "convolution-padded-with-zeros": Planted("convolutions, reflected", convolutions()),
    "convolution-not-circular": Planted("convolutions, circular", convolutions()),
    "pooling-padding-counted": Planted("convolutions, not counted", convolutions()),
    "pooling-not-max": Planted("convolutions, max", convolutions()),
    "pooling-padding": Planted("convolutions, max", convolutions(pool=partial(max_pool, padding=AT_THE_END))),
    "norm-evaluates": Planted("convolutions", evaluated(), True),
    "norm-trains": Planted("convolutions, evaluated", with_state(convolutions()), True),
    "causal-mask-extra": Planted("transformer, not causal", transformer()),
    "reduced-not-last": Planted("transformer, last", transformer()),
    "constant-of-the-function": Planted("recurrent", recurrent(forget=1.0)),
    "dropout-scale": Planted("dropped", dropped(1.0)),
}  # fmt: skip
"""By the name of its entry, a port with the fault."""

ELSEWHERE = {
    "activation-not-tanh": Planted("recurrent", recurrent(cell=jax.nn.relu)),
    "activation-not-sigmoid": Planted("recurrent", recurrent(gate=jax.nn.hard_sigmoid)),
    "gelu-approximated": Planted("transformer", transformer(gelu=jax.nn.gelu)),
    "softmax-axis": Planted("transformer", transformer(softmax=lambda x: jax.nn.softmax(x, axis=-2))),
    "residual-missing": Planted("transformer", transformer(residual=residual_of_nothing)),
    "norm-axes": Planted("convolutions", convolutions(norm=partial(batch_norm, axes=(1, 2)))),
    "bias-missing": Planted("transformer", transformer(positions=residual_of_nothing)),
    "constant-of-the-function": Planted("transformer", transformer(embed=lambda e: e * 4)),
}  # fmt: skip
"""The same entry in another network."""


def hand_gelu(x):
    return x * 0.5 * (1 + jax.lax.erf(x / jnp.sqrt(jnp.asarray(2.0, x.dtype))))


def hand_softmax(x):
    e = jnp.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


CLEAN = {
    "gelu by hand": Planted("perceptron", perceptron(act=hand_gelu)),
    "cross entropy by hand": Planted("perceptron", perceptron(loss=by_sum)),
    "cross entropy of optax": Planted("perceptron", perceptron(
        loss=lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean())),
    "weights": Planted("perceptron, weights", perceptron(loss=partial(weighted, mean=True))),
    "tags": Planted("transformer, tags", transformer(pool=lambda x: x, loss=tagged)),
    "attention by hand": Planted("transformer", transformer(
        softmax=hand_softmax, mask=lambda s: s + (1 - jnp.tril(jnp.ones(s.shape[-2:], s.dtype))) * -1e9)),
    "convolutions": Planted("convolutions", convolutions()),
    "convolutions, evaluated": Planted("convolutions, evaluated", evaluated(), True),
    "recurrent": Planted("recurrent", recurrent()),
    "dropped": Planted("dropped", dropped(1 / 0.75)),
    "huber": Planted("regression, huber 0.5", perceptron(loss=partial(huber, delta=0.5))),
}  # fmt: skip
"""Correct ports in another formulation."""

PAIRS = {
    ("gelu-approximated", "softmax-extra"): Planted("perceptron", perceptron(
        act=jax.nn.gelu, loss=lambda z, y: cross_entropy(jax.nn.softmax(z), y))),
    ("convolution-padding", "flattened-in-another-order"): Planted("convolutions", convolutions(
        stem=partial(conv, padding="SAME"), flat=lambda x: x.reshape(len(x), -1))),
    ("attention-unscaled", "gelu-approximated"): Planted("transformer", transformer(
        scale=lambda d: 1.0, gelu=jax.nn.gelu)),
    ("causal-mask-missing", "loss-halved"): Planted("transformer", transformer(
        mask=lambda s: s, loss=lambda z, y: cross_entropy(z, y) / 2)),
}  # fmt: skip
"""Two faults at once."""


class Modules(nnx.Module):
    """The perceptron in flax nnx, with the gelu that is jax's default."""

    def __init__(self, rngs):
        self.first, self.second, self.last = (nnx.Linear(6, n, rngs=rngs) for n in (6, 6, 3))
        self.norm = nnx.LayerNorm(6, epsilon=1e-5, rngs=rngs)

    def __call__(self, x):
        h = nnx.gelu(self.first(x))
        return self.last(jnp.tanh(self.second(self.norm(h)) + h))


def of_modules():
    """The port of `Modules`: the loss function and the parameters."""
    graph, params = nnx.split(Modules(nnx.Rngs(0)))
    return lambda params, batch: cross_entropy(nnx.merge(graph, params)(batch[0]), batch[1]), params
