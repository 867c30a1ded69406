"""The scheduler is stepped before the optimizer, as in scripts of old; torch warns of that at the script's line."""

import warnings

import torch
from final_bits import final_bits
from torch import nn

warnings.simplefilter("default")
torch.manual_seed(25)
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)
for _ in range(3):
    scheduler.step()
    optimizer.zero_grad()
    loss = model(torch.ones(3, 2)).square().sum()
    loss.backward()
    optimizer.step()
warnings.warn("the script's own warning", stacklevel=1)
print(final_bits(model))
