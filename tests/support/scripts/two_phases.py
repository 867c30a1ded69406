"""A second optimizer for the same model takes over; the first one gets its gradients from torch.autograd.grad."""

import os

import torch
import torch.nn.functional as F
from final_bits import final_bits
from torch import nn

torch.manual_seed(27)
model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    loss = F.linear(torch.randn(4, 3), model.weight, model.bias).square().mean()
    for parameter, gradient in zip(
        model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
    ):
        parameter.grad = gradient
    optimizer.step()
optimizer = torch.optim.Adam(model.parameters())
os.chdir(os.path.dirname(os.path.abspath(__file__)))  # the trace stays where it was to be
for _ in range(3):
    optimizer.zero_grad()
    model(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()
print(final_bits(model))
