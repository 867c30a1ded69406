"""The torch side of a recipe in numbers."""

import torch
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from tests.support.planted.numbers import Numbers


def optimizer_of(n: Numbers, net: torch.nn.Module) -> torch.optim.Optimizer:
    groups = [{"params": list(net.parameters())}]
    if n.spared:
        groups = [
            {"params": [p for p in net.parameters() if p.ndim > 1]},
            {"params": [p for p in net.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]
    options = {"lr": n.lr, "weight_decay": n.decay}
    if n.betas:
        kind = torch.optim.AdamW if n.decoupled else torch.optim.Adam
        return kind(groups, betas=n.betas, eps=n.eps, amsgrad=n.amsgrad, **options)
    return torch.optim.SGD(groups, momentum=n.momentum, dampening=n.dampening, nesterov=n.nesterov, **options)


def scheduler_of(n: Numbers, optimizer: torch.optim.Optimizer) -> lr_scheduler.LambdaLR | None:
    """It is to be stepped with each step, or each epoch where ``n.epoch`` is not 0."""
    factors = [rate / n.lr for rate in n.rates[:: n.epoch or 1]]
    return lr_scheduler.LambdaLR(optimizer, lambda t: factors[min(t, len(factors) - 1)]) if factors else None


def average_of(n: Numbers, net: torch.nn.Module) -> AveragedModel | None:
    if n.ema is None:
        return None
    return AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(n.ema) if n.ema else get_swa_multi_avg_fn())


def clip(n: Numbers, net: torch.nn.Module) -> None:
    if n.clip_value:
        torch.nn.utils.clip_grad_value_(net.parameters(), n.clip_value)
    elif n.max_norm:
        torch.nn.utils.clip_grad_norm_(net.parameters(), n.max_norm, n.order)
