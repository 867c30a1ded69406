"""LBFGS, which calls a closure several times a step."""

import torch
from final_bits import final_bits
from torch import nn

torch.manual_seed(6)
x = torch.linspace(-1, 1, 20)[:, None]
y = torch.sin(3 * x)
model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)


def closure():
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    return loss


for _ in range(3):
    print(f"{optimizer.step(closure).item():.6f}")
print(final_bits(model))
