"""Metric learning: a batch sampler of one's own, pairs, three calls of the model for one loss."""

import random

import torch
from final_bits import final_bits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Balanced:
    def __len__(self):
        return 3

    def __iter__(self):
        for _ in range(3):
            yield random.sample(range(0, 20, 2), 3) + random.sample(range(1, 20, 2), 3)


random.seed(0)
torch.manual_seed(21)
loader = DataLoader(TensorDataset(torch.randn(20, 4), torch.arange(20) % 2), batch_sampler=Balanced())
model = nn.Linear(4, 3)
optimizer = torch.optim.NAdam(model.parameters(), lr=0.01)
for x, _ in loader:
    anchor, positive, negative = model(x[:2]), model(x[1:3]), model(x[3:5])
    loss = nn.functional.triplet_margin_loss(anchor, positive, negative)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(final_bits(model))
