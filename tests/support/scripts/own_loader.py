"""A loader of a class of one's own that changes its batches; a summary before the training, checkpoints within it."""

import copy
import io

import torch
from final_bits import final_bits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Doubling(DataLoader):
    def __iter__(self):
        for batch in super().__iter__():
            yield [2 * tensor for tensor in batch]


torch.manual_seed(26)
loader = Doubling(TensorDataset(torch.randn(12, 3)), batch_size=4, shuffle=True)
model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
best = copy.deepcopy(model)
print(model(torch.zeros(1, 3)).shape)
for _ in range(2):
    for (x,) in loader:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, io.BytesIO())
    best = copy.deepcopy(model)
print(final_bits(model, best))
