"""A classifier as most are: one loader, one criterion, SGD, a scheduler stepped once an epoch, validation."""

import sys

import torch
from final_bits import final_bits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
x, y = torch.randn(40, 6), torch.randint(0, 3, (40,))
workers = int(sys.argv[sys.argv.index("--workers") + 1]) if "--workers" in sys.argv else 0
train_loader = DataLoader(TensorDataset(x[:32], y[:32]), batch_size=8, shuffle=True, num_workers=workers)
test_loader = DataLoader(TensorDataset(x[32:], y[32:]), batch_size=8)

model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
for epoch in range(2):
    model.train()
    for inputs, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
    scheduler.step()
    model.eval()
    with torch.no_grad():
        print(epoch, [criterion(model(inputs), labels).item() for inputs, labels in test_loader])
print(final_bits(model))
