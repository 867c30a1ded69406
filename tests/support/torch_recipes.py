"""PyTorch recipes, by name: an optimizer with two groups and a scheduler of every kind."""

import numpy as np
import torch
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn

SCHEDULERS = {
    "lambda": lambda o: LambdaLR(o, lambda epoch: 0.95**epoch),
    "lambda for each group": lambda o: LambdaLR(o, [lambda epoch: 0.95**epoch, lambda epoch: 1 / (1 + epoch)]),
    "multiplicative": lambda o: MultiplicativeLR(o, lambda epoch: 0.9),
    "step": lambda o: StepLR(o, 3),
    "multi step, one milestone twice": lambda o: MultiStepLR(o, [2, 5, 5, 7], 0.3),
    "constant": ConstantLR,
    "linear": LinearLR,
    "exponential": lambda o: ExponentialLR(o, 0.93),
    "polynomial": lambda o: PolynomialLR(o, 7, 2.0),
    "cosine": lambda o: CosineAnnealingLR(o, 5, 0.01),
    "warm restarts": lambda o: CosineAnnealingWarmRestarts(o, 3, 2),
    "cyclic": lambda o: CyclicLR(o, 0.01, 0.1, 7, 3),
    "cyclic, exponential range": lambda o: CyclicLR(o, 0.013, 0.17, 11, mode="exp_range", gamma=0.99),
    "cyclic, a function": lambda o: CyclicLR(o, 0.01, 0.1, 5, scale_fn=lambda c: 1 / c, cycle_momentum=False),
    "one cycle": lambda o: OneCycleLR(o, 0.1, 30),
    "one cycle, three phases": lambda o: OneCycleLR(
        o, [0.1, 0.37], epochs=3, steps_per_epoch=10, three_phase=True, pct_start=0.37, div_factor=17.3,
        final_div_factor=999.1, anneal_strategy="linear",
    ),
    "swa": lambda o: SWALR(o, 0.05, 5),
    "swa, linear": lambda o: SWALR(o, 0.05, 5, "linear"),
    "sequential": lambda o: SequentialLR(o, [ConstantLR(o, 0.1, 2), ExponentialLR(o, 0.9)], [4]),
    "chained": lambda o: ChainedScheduler([LinearLR(o, 0.2, total_iters=4), StepLR(o, 3)]),
    "chained of sequential": lambda o: ChainedScheduler(
        [SequentialLR(o, [ConstantLR(o, 0.1, 2), ExponentialLR(o, 0.9)], [4]), StepLR(o, 3)]
    ),
    "plateau": lambda o: ReduceLROnPlateau(o, factor=0.3, patience=1, min_lr=[0.02, 0.0]),
    "plateau, to be maximised": lambda o: ReduceLROnPlateau(o, "max", 0.5, 0, 0.01, "abs", 1, 1e-3, 1e-4),
    "two that take turns": lambda o: [StepLR(o, 3, 0.9), LinearLR(o, 0.4, 0.6, 4)],
    "a plateau at the end": lambda o: [
        StepLR(o, 3, 0.99), ExponentialLR(o, 0.99), ReduceLROnPlateau(o, factor=0.3, patience=0)
    ],
    "a plateau first": lambda o: [ReduceLROnPlateau(o, factor=0.7, patience=0), CosineAnnealingLR(o, 5, 0.01)],
    "a plateau that cycles": lambda o: [OneCycleLR(o, 0.1, 30), ReduceLROnPlateau(o, patience=0)],
}  # fmt: skip


# Beside the scheduler: averages, clippings and frozen parameters.
AVERAGES = {
    "equal average": {},
    "ema": {"multi_avg_fn": get_ema_multi_avg_fn(0.9)},
    "the lecture's ema": {"avg_fn": lambda avg, param, _: 0.99 * avg + 0.01 * param},
}
CLIPPINGS = {
    "norm": {"max_norm": 0.5},
    "largest": {"max_norm": 0.5, "norm_type": "inf"},
    "value": {"clip_value": 0.5},
}
WHOLE = [
    *(("cosine", average, None, False) for average in AVERAGES),
    *(("step", None, clip, False) for clip in CLIPPINGS),
    (None, None, None, True),
    ("a plateau at the end", "equal average", "norm", True),
    ("two that take turns", "ema", "value", True),
    ("plateau", "the lecture's ema", "largest", False),
]


def make(name=None, dtype=torch.float64):
    """Two parameters, an optimizer with a group for each, and the scheduler of that name."""
    parameters = {"a": torch.linspace(-1, 1, 7, dtype=dtype), "b": torch.linspace(-2, 1, 5)}
    parameters = {key: torch.nn.Parameter(value) for key, value in parameters.items()}
    groups = [
        {"params": [("a", parameters["a"])], "weight_decay": 1e-2},
        {"params": [("b", parameters["b"])], "lr": 0.3, "dampening": 0.1},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    return parameters, optimizer, SCHEDULERS[name](optimizer) if name else None


def step(parameters, optimizer, seed):
    """One optimizer step with gradients drawn from the seed, which are returned."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    optimizer.step()
    return {name: parameter.grad.numpy() for name, parameter in parameters.items()}


def metric(epoch):
    """What the run measures after an epoch, numbered from 0: a float32, better than before or not."""
    return float(np.random.default_rng(epoch + 1).choice(np.float32([0.9, 1.0, 1.1, np.nan])))


def step_schedulers(scheduler, epoch):
    """One step of each scheduler at the end of an epoch, as torch's own tests make it."""
    for each in scheduler if isinstance(scheduler, list) else [scheduler]:
        each.step(*[metric(epoch)] * isinstance(each, ReduceLROnPlateau))


def train(parameters, optimizer, scheduler, steps, steps_per_epoch):
    """Steps numbered as in ``steps``, the scheduler at the end of each epoch; returns the gradients."""
    gradients = []
    for number in steps:
        gradients.append(step(parameters, optimizer, number))
        if scheduler is not None and (number + 1) % steps_per_epoch == 0:
            step_schedulers(scheduler, number // steps_per_epoch)
    return gradients


class Whole:
    """A recipe with everything around the optimizer, as a script would step it."""

    def __init__(self, scheduler, average, clip, frozen, dtype=torch.float64):
        self.parameters, self.optimizer, self.scheduler = make(scheduler, dtype)
        self.model = torch.nn.ParameterDict(self.parameters)
        self.average = AveragedModel(self.model, **AVERAGES[average]) if average else None
        self.clip = CLIPPINGS[clip] if clip else None
        self.parameters["b"].requires_grad_(not frozen)

    def arguments(self):
        """What from_torch and explain are given."""
        return {"clip": self.clip, "named_parameters": list(self.model.named_parameters())}

    def step(self, number, steps_per_epoch):
        """One step; returns gradients, those of frozen parameters, which torch never sees, too."""
        generator = torch.Generator().manual_seed(number)
        gradients = {
            key: torch.randn(p.shape, generator=generator, dtype=p.dtype) for key, p in self.parameters.items()
        }
        for key, parameter in self.parameters.items():
            parameter.grad = gradients[key].clone() if parameter.requires_grad else None
        if self.clip is not None:
            clip = "clip_grad_value_" if "clip_value" in self.clip else "clip_grad_norm_"
            getattr(torch.nn.utils, clip)(self.model.parameters(), **self.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        if self.scheduler is not None and (number + 1) % steps_per_epoch == 0:
            step_schedulers(self.scheduler, number // steps_per_epoch)
        return {key: gradient.numpy() for key, gradient in gradients.items()}


def bits(parameters):
    return {name: parameter.detach().numpy().tobytes() for name, parameter in parameters.items()}
