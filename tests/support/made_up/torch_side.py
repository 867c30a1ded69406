"""Lion, as its authors' few lines of torch have it (Chen et al. 2023, algorithm 2), without weight decay."""

import torch


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-2, betas=(0.9, 0.99), maximize=False):
        super().__init__(params, {"lr": lr, "betas": betas, "maximize": maximize})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = -parameter.grad if group["maximize"] else parameter.grad
                state = self.state[parameter]
                if not state:
                    state["exp_avg"] = torch.zeros_like(parameter)
                direction = torch.lerp(state["exp_avg"], gradient, 1 - beta1).sign_()
                parameter.add_(direction, alpha=-group["lr"])
                state["exp_avg"].lerp_(gradient, 1 - beta2)
