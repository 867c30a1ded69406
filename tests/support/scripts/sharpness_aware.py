"""Sharpness-aware minimisation: an optimizer around another one, two gradients a step."""

import torch
from final_bits import final_bits
from torch import nn


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base, rho=0.05, **options):
        super().__init__(params, dict(rho=rho, **options))
        self.base = base(self.param_groups, **options)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def ascend(self):
        norm = torch.stack([p.grad.norm() for group in self.param_groups for p in group["params"]]).norm()
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["ascent"] = p.grad * (group["rho"] / norm)
                p.add_(self.state[p]["ascent"])
        self.zero_grad()

    @torch.no_grad()
    def descend(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(self.state[p]["ascent"])
        self.base.step()
        self.zero_grad()


torch.manual_seed(24)
model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1))
optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1, momentum=0.9)
x, y = torch.randn(16, 3), torch.randn(16, 1)
for _ in range(3):
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.ascend()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.descend()
    print(f"{loss.item():.6f}")
print(final_bits(model))
