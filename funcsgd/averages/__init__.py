"""Averages of parameters over a run, an optimizer that keeps one, and BatchNorm's statistics for it."""

from funcsgd.averages.averaged_optimizer import WithAverageState as WithAverageState
from funcsgd.averages.averaged_optimizer import averaged_params as averaged_params
from funcsgd.averages.averaged_optimizer import with_average as with_average
from funcsgd.averages.averaging import Average as Average
from funcsgd.averages.averaging import AverageState as AverageState
from funcsgd.averages.averaging import ema as ema
from funcsgd.averages.averaging import swa as swa
from funcsgd.averages.batch_norm import update_bn as update_bn

__all__ = [
    "Average",
    "AverageState",
    "WithAverageState",
    "averaged_params",
    "ema",
    "swa",
    "update_bn",
    "with_average",
]
