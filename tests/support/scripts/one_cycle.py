"""A scheduler that is stepped after each batch."""

import torch
from final_bits import final_bits
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(7)
loader = DataLoader(TensorDataset(torch.randn(20, 3), torch.randn(20, 1)), batch_size=5, shuffle=True, drop_last=True)
model = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 1))
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
scheduler = OneCycleLR(optimizer, max_lr=0.01, total_steps=8, cycle_momentum=False)
for _ in range(2):
    for x, y in loader:
        loss = nn.functional.smooth_l1_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        print(scheduler.get_last_lr())
print(final_bits(model))
