"""Small torch networks, each recorded over three steps: what the ports in `functions_planted` are of."""

import functools

import torch
from torch import nn
from torch.nn import functional as F

import torch_bridge

STEPS, N = 3, 8


class Perceptron(nn.Module):
    """Layers of equal width, with a residual, a norm and an activation."""

    def __init__(self, act=F.gelu, norm=None, residual=True):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.norm = nn.LayerNorm(6) if norm is None else norm
        self.act, self.residual = act, residual

    def forward(self, x):
        h = self.act(self.first(x))
        h = self.second(self.norm(h)) + (h if self.residual else 0)
        return self.last(torch.tanh(h))


class Convolutions(nn.Module):
    def __init__(self, padding_mode="zeros", counted=True, pool="mean", training=True):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, stride=2, padding=1, padding_mode=padding_mode)
        self.bn = nn.BatchNorm2d(4, track_running_stats=True)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.AvgPool2d(3, 2, 1, count_include_pad=counted) if pool == "mean" else nn.MaxPool2d(3, 2, 1)
        self.head = nn.Linear(16, 3)
        self.training_bn = training

    def forward(self, x):
        self.bn.train(self.training_bn)
        h = F.relu(self.bn(self.stem(x)))
        h = self.pool(F.relu(self.conv(h)))
        return self.head(h.flatten(1))


class Transformer(nn.Module):
    """A causal block over five tokens, and the mean of its outputs."""

    def __init__(self, causal=True, pool="mean", final=None):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(7, 8), nn.Embedding(5, 8)
        self.ln_1, self.ln_2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)
        self.causal, self.pool, self.final = causal, pool, final

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        q, k, v = self.qkv(self.ln_1(x)).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal).transpose(1, 2).reshape(x.shape)
        x = x + self.proj(h)
        x = x + self.down(F.gelu(self.up(self.ln_2(x))))
        logits = self.head(x if self.pool is None else x.mean(1) if self.pool == "mean" else x[:, -1])
        return logits if self.final is None else self.final(logits)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(6, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Dropped(nn.Module):
    """A dropout whose mask comes with the batch."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x, mask):
        return self.last(torch.relu(self.first(x)) * mask / 0.75)


def _vectors():
    return (torch.randn(N, 6),)


def _images():
    return (torch.randn(N, 2, 8, 8),)


def _tokens():
    return (torch.randint(0, 7, (N, 5)),)


def _sequences():
    return (torch.randn(N, 5, 6),)


def _masked():
    return torch.randn(N, 6), (torch.rand(N, 6) < 0.75).float()


def _classes():
    return torch.randint(0, 3, (N,))


def _numbers():
    return 2 * torch.randn(N, 3)


def _bits():
    return torch.randint(0, 2, (N, 3)).float()


def _tagged():
    return torch.randint(0, 3, (N, 5))


class RMS(nn.RMSNorm):
    """With an epsilon that is its own."""

    def __init__(self, n):
        super().__init__(n, eps=1e-5)


class Outside(nn.Module):
    """Its epsilon is added to the root, its variance is divided by n - 1 where that is asked for."""

    def __init__(self, unbiased=False, outside=True):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))
        self.unbiased, self.outside = unbiased, outside

    def forward(self, x):
        variance = x.var(-1, unbiased=self.unbiased, keepdim=True)
        root = variance.sqrt() + 1e-2 if self.outside else (variance + 1e-5).sqrt()
        return (x - x.mean(-1, keepdim=True)) / root * self.weight + self.bias


WEIGHTS = torch.tensor([0.3, 1.7, 0.9])


def _tokens_loss(logits, y, **options):
    return F.cross_entropy(logits.transpose(1, 2), y, **options)


NETS = {
    "perceptron": (Perceptron, _vectors, _classes, F.cross_entropy),
    **{f"perceptron, {name}": (functools.partial(Perceptron, act), _vectors, _classes, F.cross_entropy)
       for name, act in {
           "relu": F.relu, "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "tanh": torch.tanh,
           "sigmoid": torch.sigmoid, "leaky-relu": F.leaky_relu, "elu": F.elu, "selu": F.selu, "softplus": F.softplus,
           "mish": F.mish, "hardswish": F.hardswish, "hardtanh": F.hardtanh, "softsign": F.softsign,
           "none": lambda x: x,
           "leaky-relu 0.25": lambda x: F.leaky_relu(x, 0.25), "elu 0.5": lambda x: F.elu(x, 0.5)}.items()},
    "perceptron, relu6": (lambda: Perceptron(F.relu6), lambda: (9 * torch.randn(N, 6),), _classes, F.cross_entropy),
    "perceptron, root": (lambda: Perceptron(norm=Outside()), _vectors, _classes, F.cross_entropy),
    "perceptron, unbiased": (lambda: Perceptron(norm=Outside(True, False)), _vectors, _classes, F.cross_entropy),
    "perceptron, rms": (lambda: Perceptron(norm=RMS(6)), _vectors, _classes, F.cross_entropy),
    "perceptron, no residual": (lambda: Perceptron(residual=False), _vectors, _classes, F.cross_entropy),
    "perceptron, temperature": (Perceptron, _vectors, _classes, lambda z, y: F.cross_entropy(z / 0.25, y)),
    "perceptron, probabilities": (Perceptron, _vectors, _classes, lambda z, y: F.cross_entropy(z.softmax(1), y)),
    "perceptron, expected": (
        Perceptron, _vectors, _classes, lambda z, y: (z.softmax(1) * torch.arange(3)).sum(1).mean() + 0 * y.sum()),
    "perceptron, weights": (
        Perceptron, _vectors, _classes, lambda z, y: F.cross_entropy(z, y, weight=WEIGHTS)),
    "perceptron, weights over n": (
        Perceptron, _vectors, _classes, lambda z, y: F.cross_entropy(z, y, weight=WEIGHTS, reduction="none").mean()),
    "perceptron, ignored in the mean": (
        Perceptron, _vectors, _classes, lambda z, y: F.cross_entropy(z, y, ignore_index=0, reduction="none").mean()),
    "regression": (Perceptron, _vectors, _numbers, F.mse_loss),
    "regression, l1": (Perceptron, _vectors, _numbers, F.l1_loss),
    "regression, smooth": (Perceptron, _vectors, _numbers, F.smooth_l1_loss),
    "regression, smooth 0.5": (Perceptron, _vectors, _numbers, lambda z, y: F.smooth_l1_loss(z, y, beta=0.5)),
    "regression, huber 0.5": (Perceptron, _vectors, _numbers, lambda z, y: F.huber_loss(z, y, delta=0.5)),
    "bits": (Perceptron, _vectors, _bits, F.binary_cross_entropy_with_logits),
    "convolutions": (Convolutions, _images, _classes, F.cross_entropy),
    "convolutions, reflected": (lambda: Convolutions("reflect"), _images, _classes, F.cross_entropy),
    "convolutions, circular": (lambda: Convolutions("circular"), _images, _classes, F.cross_entropy),
    "convolutions, not counted": (lambda: Convolutions(counted=False), _images, _classes, F.cross_entropy),
    "convolutions, max": (lambda: Convolutions(pool="max"), _images, _classes, F.cross_entropy),
    "convolutions, evaluated": (lambda: Convolutions(training=False), _images, _classes, F.cross_entropy),
    "transformer": (Transformer, _tokens, _classes, F.cross_entropy),
    "transformer, not causal": (lambda: Transformer(causal=False), _tokens, _classes, F.cross_entropy),
    "transformer, last": (lambda: Transformer(pool="last"), _tokens, _classes, F.cross_entropy),
    "transformer, tags": (
        lambda: Transformer(pool=None), _tokens, _tagged, lambda z, y: _tokens_loss(z, y, ignore_index=0)),
    "recurrent": (Recurrent, _sequences, _classes, F.cross_entropy),
    "dropped": (Dropped, _masked, _classes, F.cross_entropy),
}  # fmt: skip
"""The network, its inputs and targets, and its loss."""


@functools.cache
def recorded(name):
    """Three steps of a network whose numbers are drawn anew: the trace, and the batches by step."""
    torch.manual_seed(0)
    kind, inputs, targets, criterion = NETS[name]
    model = kind()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
        for key, buffer in model.named_buffers():
            if "var" in key:
                buffer.uniform_(0.5, 1.5)
            elif "mean" in key:
                buffer.normal_()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [(*inputs(), targets()) for _ in range(STEPS)]
    with torch_bridge.record(model, optimizer) as recorder:
        for *x, y in batches:
            optimizer.zero_grad()
            criterion(model(*x), y).backward()
            optimizer.step()
    return recorder.trace(), [tuple(array.numpy() for array in batch) for batch in batches]
