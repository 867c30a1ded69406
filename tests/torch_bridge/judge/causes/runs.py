"""Recorded runs, cheap and rich enough that each fault of the catalogue can show."""

import functools

import torch
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

import torch_bridge
from tests.support import small_run
from tests.torch_bridge.judge.causes.rules_planted import BETAS, DECAY, EPS, LR, MAX_NORM, MOMENTUM


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def _sgd(net, **options):
    return torch.optim.SGD(net.parameters(), **{"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY} | options)


def _adam(net, kind=torch.optim.Adam, **options):
    return kind(net.parameters(), **{"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": DECAY} | options)


def _groups(net):
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1]},
        {"params": [p for p in net.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)


def _warmup(optimizer):
    return lr_scheduler.LambdaLR(optimizer, lambda t: min((t + 1) / 4, 1.0))


OPTIMIZERS = {
    "heavy ball": (_sgd, {"clip": {"max_norm": MAX_NORM}}),
    "bare": (functools.partial(_sgd, weight_decay=0.0), {}),
    "plain": (functools.partial(_sgd, momentum=0.0, weight_decay=0.0), {"clip": {"max_norm": 3.0}}),
    "clipped values": (_sgd, {"clip": {"clip_value": 0.1}}),
    "clipped to the largest": (_sgd, {"clip": {"max_norm": 0.1, "norm_type": float("inf")}}),
    "nesterov": (functools.partial(_sgd, nesterov=True), {}),
    "dampened": (functools.partial(_sgd, dampening=0.3), {}),
    "groups": (_groups, {}),
    "moments": (_adam, {}),
    "amsgrad": (functools.partial(_adam, amsgrad=True), {}),
    "decoupled": (functools.partial(_adam, kind=torch.optim.AdamW), {}),
    "steps": (_sgd, {"scheduler": lambda o: lr_scheduler.StepLR(o, 1, 0.5), "every": 3}),
    "decoupled, steps": (functools.partial(_adam, kind=torch.optim.AdamW), {
        "scheduler": lambda o: lr_scheduler.StepLR(o, 1, 0.5), "every": 3}),
    "linear": (_sgd, {"scheduler": lambda o: lr_scheduler.LambdaLR(o, [1.0, 0.8, 0.5, 0.4].__getitem__), "every": 3}),
    "falling": (_sgd, {"scheduler": lambda o: lr_scheduler.ExponentialLR(o, 0.8)}),
    "warm-up": (_sgd, {"scheduler": _warmup}),
    "ema": (_sgd, {"average": lambda net: AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))}),
    "swa": (_sgd, {"average": lambda net: AveragedModel(net, multi_avg_fn=get_swa_multi_avg_fn())}),
}  # fmt: skip


@functools.cache
def recorded(name, steps=8):
    """A run of `OPTIMIZERS`, on gradients that need no model of the port's."""
    return _run(name, lambda net: ((net(torch.randn(7, 6)) ** 2).mean().mul(4) for _ in range(steps)))


@functools.cache
def trained(name, epochs=3):
    """A run of `OPTIMIZERS` on the examples of `tests.support.small_run`, three steps an epoch."""
    dataset = torch.utils.data.TensorDataset(torch.tensor(small_run.X), torch.tensor(small_run.Y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)

    def losses(net):
        for _ in range(epochs):
            for x, y in loader:
                yield torch.nn.functional.cross_entropy(net(x), y)

    return _run(name, losses, loader=loader)


def _run(name, losses, **more):
    make, options = OPTIMIZERS[name]
    net = model()
    optimizer = make(net)
    scheduler = options["scheduler"](optimizer) if "scheduler" in options else None
    average = options["average"](net) if "average" in options else None
    clip = options.get("clip", {})
    recorder = torch_bridge.record(net, optimizer, average=average, clip=clip or None, **more)
    for t, loss in enumerate(losses(net)):
        optimizer.zero_grad()
        loss.backward()
        if "clip_value" in clip:
            torch.nn.utils.clip_grad_value_(net.parameters(), **clip)
        elif clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), **clip)
        optimizer.step()
        if average is not None:
            average.update_parameters(net)
        if scheduler is not None and (t + 1) % options.get("every", 1) == 0:
            scheduler.step()
    recorder.close()
    return recorder.trace()
