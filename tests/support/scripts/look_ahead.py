"""A loop that draws the next batch before it uses the one it has."""

import torch
from final_bits import final_bits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(15)
loader = DataLoader(TensorDataset(torch.randn(12, 3), torch.randn(12, 1)), batch_size=4, shuffle=True)
model = nn.Linear(3, 1)
optimizer = torch.optim.Adadelta(model.parameters())
iterator = iter(loader)
batch = next(iterator)
while batch is not None:
    following = next(iterator, None)
    optimizer.zero_grad()
    nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
    optimizer.step()
    batch = following
print(final_bits(model))
