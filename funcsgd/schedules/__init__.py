"""Learning rate and momentum schedules, the classes of ``torch.optim.lr_scheduler``; a family a file.

Where torch takes an optimizer, these take its learning rate::

    lr = 0.1
    warmup = LinearLR(lr, start_factor=0.1, total_iters=5)          # LinearLR(optimizer, start_factor=0.1, ...)
    anneal = CosineAnnealingLR(lr, T_max=95)                        # CosineAnnealingLR(optimizer, T_max=95)
    schedule = SequentialLR(lr, [warmup, anneal], milestones=[5])   # SequentialLR(optimizer, [warmup, anneal], [5])

    sgd(per_epoch(tabulate(schedule, 100), steps_per_epoch=390))    # torch's learning rates, bit for bit
    sgd(per_epoch(schedule, steps_per_epoch=390))                   # the closed form: any hyperparameter may be traced

In the words of a lecture: step decay is `StepLR`, exponential decay `ExponentialLR`, 1/t decay `InverseTimeLR`,
cosine annealing `CosineAnnealingLR`, and a constant learning rate is a number, or ``ConstantLR(lr, factor=1.0)``.
`ReduceLROnPlateau` watches a metric; `funcsgd.scale_by_schedulers` runs it back to back with the others.
"""

from funcsgd.schedules.composition import ChainedScheduler as ChainedScheduler
from funcsgd.schedules.composition import SequentialLR as SequentialLR
from funcsgd.schedules.cosine import CosineAnnealingLR as CosineAnnealingLR
from funcsgd.schedules.cosine import CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts
from funcsgd.schedules.cyclic import CyclicLR as CyclicLR
from funcsgd.schedules.decay import ExponentialLR as ExponentialLR
from funcsgd.schedules.decay import PolynomialLR as PolynomialLR
from funcsgd.schedules.inverse_time import InverseTimeLR as InverseTimeLR
from funcsgd.schedules.lambdas import LambdaLR as LambdaLR
from funcsgd.schedules.lambdas import MultiplicativeLR as MultiplicativeLR
from funcsgd.schedules.one_cycle import OneCycleLR as OneCycleLR
from funcsgd.schedules.plateau import ReduceLROnPlateau as ReduceLROnPlateau
from funcsgd.schedules.plateau import ReduceLROnPlateauState as ReduceLROnPlateauState
from funcsgd.schedules.schedule import MomentumSchedule as MomentumSchedule
from funcsgd.schedules.schedule import Schedule as Schedule
from funcsgd.schedules.steps import MultiStepLR as MultiStepLR
from funcsgd.schedules.steps import StepLR as StepLR
from funcsgd.schedules.swalr import SWALR as SWALR
from funcsgd.schedules.tables import per_epoch as per_epoch
from funcsgd.schedules.tables import tabulate as tabulate
from funcsgd.schedules.warmup import ConstantLR as ConstantLR
from funcsgd.schedules.warmup import LinearLR as LinearLR

__all__ = [
    "SWALR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "InverseTimeLR",
    "LambdaLR",
    "LinearLR",
    "MomentumSchedule",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "ReduceLROnPlateauState",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "per_epoch",
    "tabulate",
]
