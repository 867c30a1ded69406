"""Recorded runs, cheap and rich enough that each fault of the catalogue can show."""

import functools

import torch
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

import torch_bridge
from tests.support.planted.numbers import Numbers

SGD = functools.partial(Numbers, lr=0.05, momentum=0.9, decay=0.02)
ADAM = functools.partial(Numbers, lr=0.05, betas=(0.8, 0.95), eps=0.03, decay=0.02)


def by_epoch(*factors):
    return {"rates": tuple(0.05 * factor for factor in factors for _ in range(3)), "epoch": 3}


STEPS = by_epoch(1.0, 0.5, 0.25, 0.125)
NUMBERS = {
    "heavy ball": SGD(max_norm=0.3),
    "moments": ADAM(),
    "bare": SGD(decay=0.0),
    "plain": SGD(momentum=0.0, decay=0.0, max_norm=3.0),
    "clipped values": SGD(clip_value=0.1),
    "clipped to the largest": SGD(max_norm=0.1, order=float("inf")),
    "nesterov": SGD(nesterov=True),
    "dampened": SGD(dampening=0.3),
    "groups": SGD(spared=True),
    "amsgrad": ADAM(amsgrad=True),
    "decoupled": ADAM(decoupled=True),
    "steps": SGD(**STEPS),
    "decoupled, steps": ADAM(decoupled=True, **STEPS),
    "linear": SGD(**by_epoch(1.0, 0.8, 0.5, 0.4)),
    "falling": SGD(rates=tuple(0.05 * 0.8**t for t in range(9))),
    "warm-up": SGD(rates=tuple(0.05 * min((t + 1) / 4, 1.0) for t in range(9))),
    "ema": SGD(ema=0.9),
    "swa": SGD(ema=0.0),
}
"""The recipes in numbers."""


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def optimizer_of(n, net):
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


def scheduler_of(n, optimizer):
    factors = [rate / n.lr for rate in n.rates[:: n.epoch or 1]]
    return lr_scheduler.LambdaLR(optimizer, lambda t: factors[min(t, len(factors) - 1)]) if factors else None


def average_of(n, net):
    if n.ema is None:
        return None
    return AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(n.ema) if n.ema else get_swa_multi_avg_fn())


@functools.cache
def recorded(name, steps=8):
    """A run of `NUMBERS`, on gradients that need no model of the port's."""
    n, net = NUMBERS[name], model()
    optimizer, average = optimizer_of(n, net), average_of(n, net)
    scheduler = scheduler_of(n, optimizer)
    clip = {"clip_value": n.clip_value} if n.clip_value else {}
    clip = {"max_norm": n.max_norm, "norm_type": n.order} if n.max_norm else clip
    recorder = torch_bridge.record(net, optimizer, average=average, clip=clip or None)
    for t in range(steps):
        optimizer.zero_grad()
        (net(torch.randn(7, 6)) ** 2).mean().mul(4).backward()
        if n.clip_value:
            torch.nn.utils.clip_grad_value_(net.parameters(), **clip)
        elif clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), **clip)
        optimizer.step()
        if average is not None:
            average.update_parameters(net)
        if scheduler is not None and (t + 1) % (n.epoch or 1) == 0:
            scheduler.step()
    recorder.close()
    return recorder.trace()
