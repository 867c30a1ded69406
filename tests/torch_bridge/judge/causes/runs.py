"""Recorded runs, cheap and rich enough that each fault of the catalogue can show."""

import functools

import torch

import torch_bridge
from tests.support.planted.numbers import Numbers
from tests.support.planted.torch_side import average_of, clip, optimizer_of, scheduler_of

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


@functools.cache
def recorded(name, steps=8):
    """A run of `NUMBERS`, on gradients that need no model of the port's."""
    n, net = NUMBERS[name], model()
    optimizer, average = optimizer_of(n, net), average_of(n, net)
    scheduler = scheduler_of(n, optimizer)
    recorder = torch_bridge.record(net, optimizer, average=average)
    for t in range(steps):
        optimizer.zero_grad()
        (net(torch.randn(7, 6)) ** 2).mean().mul(4).backward()
        clip(n, net)
        optimizer.step()
        if average is not None:
            average.update_parameters(net)
        if scheduler is not None and (t + 1) % (n.epoch or 1) == 0:
            scheduler.step()
    recorder.close()
    return recorder.trace()
