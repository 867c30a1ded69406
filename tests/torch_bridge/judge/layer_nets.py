"""Three small torch networks, recorded, and data: what the ports in `layer_ports` are of."""

import functools

import torch
from torch import nn
from torch.nn import functional as F

import torch_bridge


class Convolutions(nn.Module):
    """Two convolutions of equal shapes with a norm each, of two kinds; activations as functions and as a module."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.gn = nn.GroupNorm(2, 4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, stride=2)
        self.act = nn.SiLU()
        self.pool, self.flat = nn.AvgPool2d(2), nn.Flatten()
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        h = F.relu(self.bn(self.stem(x)))
        h = self.gn(self.conv1(h))
        return self.head(self.flat(self.pool(self.conv2(self.act(h)))))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(8), Attention(), nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """The head is the token embedding."""

    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(7, 8), nn.Embedding(5, 8)
        self.block, self.ln_f = Block(), nn.LayerNorm(8)
        self.head = nn.Linear(8, 7, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        return self.head(self.ln_f(self.block(x))).mean(1)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(7, 4), nn.LSTM(4, 4, batch_first=True)
        self.gru, self.tags = nn.GRU(4, 4), nn.Linear(4, 3)

    def forward(self, tokens):
        h = self.lstm(self.embed(tokens))[0]
        return self.tags(self.gru(h.transpose(0, 1))[0][-1])


NETS = {
    "convolutions": (Convolutions, lambda: torch.randn(8, 2, 8, 8)),
    "transformer": (GPT, lambda: torch.randint(0, 7, (8, 5))),
    "recurrent": (Tagger, lambda: torch.randint(0, 7, (8, 5))),
}


@functools.cache
def recorded(name):
    """One step of a network with its numbers drawn anew: the model as it began, the trace, and the data."""
    torch.manual_seed(0)
    kind, inputs = NETS[name]
    model, x, y = kind(), inputs(), torch.randint(0, 3, (8,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer) as recorder:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return recorder.trace(), (x.numpy(), y.numpy())
