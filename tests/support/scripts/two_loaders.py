"""Semi-supervised learning: two loaders, two losses, one step."""

import torch
from final_bits import final_bits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(22)
labelled = DataLoader(TensorDataset(torch.randn(8, 3), torch.randint(0, 2, (8,))), batch_size=4, shuffle=True)
unlabelled = DataLoader(TensorDataset(torch.randn(16, 3)), batch_size=8, shuffle=True)
model = nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, nesterov=True, momentum=0.8)
for (x, y), (u,) in zip(labelled, unlabelled, strict=True):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y) + 0.1 * torch.softmax(model(u), 1).var()
    loss.backward()
    optimizer.step()
    print(loss.item())
print(final_bits(model))
