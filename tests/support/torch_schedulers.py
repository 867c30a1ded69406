"""torch's schedulers as they run, random configurations of them, and the same configuration on our side.

A configuration is ``(torch class name, keyword arguments)``; in a nest, ``schedulers`` holds configurations.
"""

import inspect
import random

import numpy as np
import torch
from torch.optim import lr_scheduler, swa_utils

import funcsgd.schedules as ours

NAMES = {
    "LambdaLR": ours.lambda_lr,
    "MultiplicativeLR": ours.multiplicative_lr,
    "StepLR": ours.step_lr,
    "MultiStepLR": ours.multi_step_lr,
    "ConstantLR": ours.constant_lr,
    "LinearLR": ours.linear_lr,
    "ExponentialLR": ours.exponential_lr,
    "PolynomialLR": ours.polynomial_lr,
    "CosineAnnealingLR": ours.cosine_annealing_lr,
    "CosineAnnealingWarmRestarts": ours.cosine_annealing_warm_restarts,
    "CyclicLR": ours.cyclic_lr,
    "OneCycleLR": ours.one_cycle_lr,
    "SWALR": ours.swalr,
    "SequentialLR": ours.sequential_lr,
    "ChainedScheduler": ours.chained_scheduler,
}
LEAVES = tuple(NAMES)[:-2]
WITHOUT_LEARNING_RATE = ("CyclicLR", "OneCycleLR")
WITH_CLOSED_FORM = LEAVES[2:9]


def optimizer(*lrs):
    """An optimizer with a parameter group for each learning rate."""
    sgd = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs])
    sgd._opt_called = True  # nests step their schedulers before anyone can step the optimizer, and torch would warn
    return sgd


def torch_class(name):
    return getattr(swa_utils if name == "SWALR" else lr_scheduler, name)


def to_torch(config, sgd):
    name, arguments = config
    if "schedulers" in arguments:
        arguments = arguments | {"schedulers": [to_torch(inner, sgd) for inner in arguments["schedulers"]]}
    if name == "ChainedScheduler":
        return lr_scheduler.ChainedScheduler(**arguments)
    return torch_class(name)(sgd, **arguments)


def to_ours(config, lr, **more):
    name, arguments = config
    if "schedulers" in arguments:
        arguments = arguments | {"schedulers": [to_ours(inner, lr, **more) for inner in arguments["schedulers"]]}
    if name not in WITHOUT_LEARNING_RATE:
        more = more | {"learning_rate": lr}
    return NAMES[name](**arguments, **more)


def torch_tables(config, sgd, n):
    """Learning rates and momenta of epochs 0 to n-1, as far as torch gets, and the error that stopped it or None."""
    rates, momenta = [], []
    try:
        scheduler = to_torch(config, sgd)
        for epoch in range(n):
            if epoch:
                scheduler.step()
            rates.append(sgd.param_groups[0]["lr"])
            momenta.append(sgd.param_groups[0]["momentum"])
    except Exception as error:  # whatever it is, ours must be of the same type
        return np.array(rates), np.array(momenta), error
    return np.array(rates), np.array(momenta), None


def same_bits(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and bool((a.view(np.int64) == b.view(np.int64)).all())


class Draw(random.Random):
    """Random configurations; `epochs` is the length of the run they are meant for."""

    def __init__(self, seed, epochs):
        super().__init__(seed)
        self.epochs = epochs

    def scale(self):
        """A number of epochs, from 1 to about the run's, small ones as likely as large ones."""
        return max(1, round(self.epochs ** self.uniform(0, 1.05)))

    def leaf(self, name):
        """A scheduler whose optional arguments are sometimes left to their defaults."""
        defaults = inspect.signature(torch_class(name)).parameters
        arguments = getattr(self, name)()
        return name, {
            key: value
            for key, value in arguments.items()
            if defaults[key].default in (inspect.Parameter.empty, None) or self.random() < 0.8
        }

    def nest(self, depth=2):
        """A nest of at most ``depth`` levels, with every quirk that torch accepts, and some that it does not."""
        inner = [
            self.nest(depth - 1) if depth > 1 and self.random() < 0.25 else self.leaf(self.choice(LEAVES))
            for _ in range(self.randint(1, 4))
        ]
        if self.random() < 0.5:
            return "ChainedScheduler", {"schedulers": inner}
        milestones = [self.scale() - self.choice((0, 0, 0, 1, 2)) for _ in inner[1:]]
        return "SequentialLR", {
            "schedulers": inner,
            "milestones": milestones if self.random() < 0.2 else sorted(milestones),
        }

    def LambdaLR(self):
        return {"lr_lambda": self.function()}

    def MultiplicativeLR(self):
        return {"lr_lambda": self.function()}

    def function(self):
        a, period = self.uniform(0.9, 1.0), self.scale()
        return self.choice(
            (lambda e: a ** (e // period), lambda e: 1 / (1 + a * e), lambda e: 1 - (e % period == 0) / 3)
        )

    def StepLR(self):
        return {"step_size": self.scale(), "gamma": self.choice((0.1, 0.5, self.uniform(0, 1.1)))}

    def MultiStepLR(self):
        milestones = [self.scale() - self.choice((0, 1)) for _ in range(self.randint(0, 6))]
        return {"milestones": milestones + milestones[: self.randint(0, 2)], "gamma": self.uniform(0.05, 1.1)}

    def ConstantLR(self):
        return {"factor": self.choice((0.0, 1.0, *(self.random() for _ in range(8)))), "total_iters": self.scale() - 1}

    def LinearLR(self):
        return {
            "start_factor": self.uniform(1e-3, 1),
            "end_factor": self.choice((0.0, 1.0, self.random(), self.random())),
            "total_iters": self.scale() - self.choice((0, 1)),
        }

    def ExponentialLR(self):
        return {"gamma": self.choice((0.9, 1 - 10 ** self.uniform(-5, -0.5), 1.0003))}

    def PolynomialLR(self):
        return {
            "total_iters": self.scale() - self.choice((0, 1)),
            "power": self.choice((1.0, 2, 0.5, self.uniform(0.1, 4))),
        }

    def CosineAnnealingLR(self):
        return {"T_max": self.scale(), "eta_min": self.choice((0.0, 0, 1e-4, self.uniform(0, 0.2)))}

    def CosineAnnealingWarmRestarts(self):
        return {
            "T_0": self.scale(),
            "T_mult": self.randint(1, 4),
            "eta_min": self.choice((0.0, 1e-4, self.uniform(0, 0.2))),
        }

    def CyclicLR(self):
        period = self.scale()
        return {
            "base_lr": self.uniform(1e-4, 0.1),
            "max_lr": self.uniform(0.1, 1.0),
            "step_size_up": self.scale(),
            "step_size_down": self.choice((None, self.scale())),
            "mode": self.choice(("triangular", "triangular2", "exp_range")),
            "gamma": self.uniform(0.99, 1.0),
            "scale_fn": self.choice((None, None, lambda x: 1 / (1 + x / period))),
            "scale_mode": self.choice(("cycle", "iterations")),
            "cycle_momentum": self.random() < 0.7,
            "base_momentum": self.uniform(0.5, 0.85),
            "max_momentum": self.uniform(0.85, 0.99),
        }

    def OneCycleLR(self):
        length = {"total_steps": self.epochs - self.randint(0, 2)}
        if self.random() < 0.2:
            length = {"epochs": self.epochs // 10, "steps_per_epoch": 10}
        return length | {
            "max_lr": self.uniform(0.01, 1.0),
            "pct_start": self.choice((0.3, 0.0, 1.0, 0.5, self.random())),
            "anneal_strategy": self.choice(("cos", "linear")),
            "cycle_momentum": self.random() < 0.7,
            "base_momentum": self.uniform(0.5, 0.85),
            "max_momentum": self.uniform(0.85, 0.99),
            "div_factor": self.uniform(1, 100),
            "final_div_factor": 10 ** self.uniform(0, 5),
            "three_phase": self.random() < 0.5,
        }

    def SWALR(self):
        return {
            "swa_lr": self.uniform(1e-4, 1.0),
            "anneal_epochs": self.scale() - 1,
            "anneal_strategy": self.choice(("cos", "linear")),
        }
