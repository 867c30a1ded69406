"""No module at all: tensors that require a gradient, and a loss written out."""

import torch

torch.manual_seed(18)
x = torch.randn(10, 2)
y = x @ torch.tensor([[2.0], [-1.0]]) + 0.5
weight = torch.zeros(2, 1, requires_grad=True)
bias = torch.zeros(1, requires_grad=True)
optimizer = torch.optim.SGD([weight, bias], lr=0.1)
for _ in range(3):
    loss = ((x @ weight + bias - y) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(loss.item())
print([each.hex() for each in [*weight.flatten().tolist(), *bias.tolist()]])
