"""An LSTM language model: truncated back-propagation, tied weights, clipping, batches cut by hand."""

import torch
from final_bits import final_bits
from torch import nn
from torch.nn.utils import clip_grad_norm_


class LanguageModel(nn.Module):
    def __init__(self, n_words=12, width=8):
        super().__init__()
        self.encoder = nn.Embedding(n_words, width)
        self.rnn = nn.LSTM(width, width, 2, dropout=0.1)
        self.decoder = nn.Linear(width, n_words)
        self.decoder.weight = self.encoder.weight

    def forward(self, words, hidden=None):
        output, hidden = self.rnn(self.encoder(words), hidden)
        return self.decoder(output), hidden


torch.manual_seed(12)
text = torch.randint(0, 12, (25, 4))
model = LanguageModel()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
hidden = None
for start in range(0, 24, 6):
    words, targets = text[start : start + 6], text[start + 1 : start + 7]
    optimizer.zero_grad()
    output, hidden = model(words, hidden)
    hidden = tuple(each.detach() for each in hidden)
    loss = nn.functional.cross_entropy(output.flatten(0, 1), targets.flatten())
    loss.backward()
    clip_grad_norm_(model.parameters(), 0.25)
    optimizer.step()
    print(f"{loss.item():.6f}")
print(final_bits(model))
