"""A trained body is frozen at first, and joins the optimizer as a group of its own later."""

from collections import OrderedDict

import torch
from final_bits import final_bits
from torch import nn

torch.manual_seed(10)
model = nn.Sequential(OrderedDict(body=nn.Linear(4, 6), relu=nn.ReLU(), head=nn.Linear(6, 2)))
for parameter in model.body.parameters():
    parameter.requires_grad = False
optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1, momentum=0.9)
x, y = torch.randn(12, 4), torch.randint(0, 2, (12,))
for epoch in range(4):
    if epoch == 2:
        for parameter in model.body.parameters():
            parameter.requires_grad = True
        optimizer.add_param_group({"params": model.body.parameters(), "lr": 0.01})
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"{loss.item():.6f}")
print(final_bits(model))
