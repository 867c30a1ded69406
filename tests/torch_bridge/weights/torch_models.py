"""Small torch models of the kinds that people port, with parameters and statistics away from their first values."""

import torch
from torch import nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.downsample = nn.Sequential(nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6))

    def forward(self, x):
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + self.downsample(x))

    example = staticmethod(lambda: torch.randn(2, 4, 8, 8))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc1 = nn.Conv2d(2, 4, 3, padding=1)
        self.enc2 = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.up1 = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.dec = nn.Conv2d(8, 4, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        a = F.relu(self.enc1(x))
        b = self.up1(F.relu(self.enc2(a)))
        return self.head(self.up2(F.relu(self.dec(torch.cat([b, a], 1)))))

    example = staticmethod(lambda: torch.randn(2, 2, 6, 6))


class Block(nn.Module):
    def __init__(self, width=8, heads=2):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width))

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Two blocks; the head is the token embedding."""

    def __init__(self, words=11, width=8, length=5):
        super().__init__()
        self.wte = nn.Embedding(words, width)
        self.wpe = nn.Embedding(length, width)
        self.h = nn.ModuleList([Block(width) for _ in range(2)])
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, words, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))

    example = staticmethod(lambda: torch.randint(0, 11, (3, 5)))


class Tagger(nn.Module):
    """An LSTM of two depths and two directions."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 5)
        self.lstm = nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.tags(self.lstm(self.embedding(tokens))[0])

    example = staticmethod(lambda: torch.randint(0, 9, (2, 6)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.gru(x)[0])

    example = staticmethod(lambda: torch.randn(2, 6, 3))


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 3)
        self.batch = nn.BatchNorm1d(6)
        self.group = nn.GroupNorm(2, 6)
        self.linear = nn.Linear(6, 6)
        self.layer = nn.LayerNorm(6)
        self.rms = nn.RMSNorm(6, eps=1e-6)

    def forward(self, x):
        h = self.group(torch.tanh(self.batch(self.conv(x))))
        return self.rms(torch.tanh(self.layer(self.linear(h.mean(2)))))

    example = staticmethod(lambda: torch.randn(3, 3, 7))


MODELS = {"resnet": BasicBlock, "unet": UNet, "gpt": GPT, "tagger": Tagger, "gru": Recurrent, "norms": Norms}


def trained(name, seed=0, dtype=torch.float64):
    """A model in evaluation, every number drawn anew, and an input."""
    torch.manual_seed(seed)
    model = MODELS[name]().to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
            else:
                buffer += 7
    x = MODELS[name].example()
    return model, x.to(dtype) if x.is_floating_point() else x
