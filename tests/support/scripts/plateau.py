"""A scheduler that watches the validation loss, two loaders, and a model that takes keywords."""

import torch
from final_bits import final_bits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, inputs, targets):
        return nn.functional.mse_loss(self.linear(inputs), targets)


torch.manual_seed(20)
x, y = torch.randn(24, 3), torch.randn(24, 1)
train_loader = DataLoader(TensorDataset(x[:16], y[:16]), batch_size=8, shuffle=True)
valid_loader = DataLoader(TensorDataset(x[16:], y[16:]), batch_size=8)
model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
for _ in range(3):
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        model(inputs=inputs, targets=targets).backward()
        optimizer.step()
    with torch.no_grad():
        scheduler.step(sum(model(inputs=inputs, targets=targets).item() for inputs, targets in valid_loader))
    print(optimizer.param_groups[0]["lr"])
print(final_bits(model))
