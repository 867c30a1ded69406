"""A loader over a stream, which has no indices."""

import torch
from final_bits import final_bits
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Stream(IterableDataset):
    def __iter__(self):
        for _ in range(12):
            x = torch.randn(3)
            yield x, x.sum(0, keepdim=True)


torch.manual_seed(14)
model = nn.Linear(3, 1)
optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)
for x, y in DataLoader(Stream(), batch_size=4):
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
print(final_bits(model))
