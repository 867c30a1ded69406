"""Learning rate and momentum schedules, named after ``torch.optim.lr_scheduler``; a family a file.

Where torch takes an optimizer, these take its learning rate::

    lr = 0.1
    warmup = linear_lr(lr, start_factor=0.1, total_iters=5)         # LinearLR(optimizer, start_factor=0.1, ...)
    anneal = cosine_annealing_lr(lr, T_max=95)                      # CosineAnnealingLR(optimizer, T_max=95)
    schedule = sequential_lr(lr, [warmup, anneal], milestones=[5])  # SequentialLR(optimizer, [warmup, anneal], [5])

    sgd(per_epoch(tabulate(schedule, 100), steps_per_epoch=390))    # torch's learning rates, bit for bit
    sgd(per_epoch(schedule, steps_per_epoch=390))                   # the closed form: any hyperparameter may be traced

In the words of a lecture: step decay is `step_lr`, exponential decay `exponential_lr`, 1/t decay `inverse_time_lr`,
cosine annealing `cosine_annealing_lr`, and a constant learning rate is a number, or ``constant_lr(lr, factor=1.0)``.
`reduce_lr_on_plateau` watches a metric; `funcsgd.scale_by_schedulers` runs it back to back with the others.
"""

from funcsgd.schedules.composition import chained_scheduler as chained_scheduler
from funcsgd.schedules.composition import sequential_lr as sequential_lr
from funcsgd.schedules.cosine import cosine_annealing_lr as cosine_annealing_lr
from funcsgd.schedules.cosine import cosine_annealing_warm_restarts as cosine_annealing_warm_restarts
from funcsgd.schedules.cyclic import cyclic_lr as cyclic_lr
from funcsgd.schedules.decay import exponential_lr as exponential_lr
from funcsgd.schedules.decay import polynomial_lr as polynomial_lr
from funcsgd.schedules.functions import inverse_time_lr as inverse_time_lr
from funcsgd.schedules.functions import lambda_lr as lambda_lr
from funcsgd.schedules.functions import multiplicative_lr as multiplicative_lr
from funcsgd.schedules.one_cycle import one_cycle_lr as one_cycle_lr
from funcsgd.schedules.plateau import ReduceLROnPlateau as ReduceLROnPlateau
from funcsgd.schedules.plateau import ReduceLROnPlateauState as ReduceLROnPlateauState
from funcsgd.schedules.plateau import reduce_lr_on_plateau as reduce_lr_on_plateau
from funcsgd.schedules.schedule import MomentumSchedule as MomentumSchedule
from funcsgd.schedules.schedule import Schedule as Schedule
from funcsgd.schedules.steps import multi_step_lr as multi_step_lr
from funcsgd.schedules.steps import step_lr as step_lr
from funcsgd.schedules.swalr import swalr as swalr
from funcsgd.schedules.tables import per_epoch as per_epoch
from funcsgd.schedules.tables import tabulate as tabulate
from funcsgd.schedules.warmup import constant_lr as constant_lr
from funcsgd.schedules.warmup import linear_lr as linear_lr

__all__ = [
    "MomentumSchedule",
    "ReduceLROnPlateau",
    "ReduceLROnPlateauState",
    "Schedule",
    "chained_scheduler",
    "constant_lr",
    "cosine_annealing_lr",
    "cosine_annealing_warm_restarts",
    "cyclic_lr",
    "exponential_lr",
    "inverse_time_lr",
    "lambda_lr",
    "linear_lr",
    "multi_step_lr",
    "multiplicative_lr",
    "one_cycle_lr",
    "per_epoch",
    "polynomial_lr",
    "reduce_lr_on_plateau",
    "sequential_lr",
    "step_lr",
    "swalr",
    "tabulate",
]
