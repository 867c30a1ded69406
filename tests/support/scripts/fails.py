"""A script that ends in an error after two steps, in a function of its own."""

import torch


def train(model, optimizer, step):
    if step == 2:
        raise FloatingPointError("the loss is not finite")
    optimizer.zero_grad()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()


torch.manual_seed(23)
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(3):
    train(model, optimizer, step)
