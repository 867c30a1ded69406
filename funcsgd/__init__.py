"""Pure functional update rules for JAX with PyTorch's semantics, bit for bit where hardware allows."""

from funcsgd.arithmetic import Exactness as Exactness
from funcsgd.arithmetic import exactness as exactness
from funcsgd.arithmetic import rounded as rounded
from funcsgd.averaged_optimizer import WithAverageState as WithAverageState
from funcsgd.averaged_optimizer import averaged_params as averaged_params
from funcsgd.averaged_optimizer import with_average as with_average
from funcsgd.averaging import Average as Average
from funcsgd.averaging import AverageState as AverageState
from funcsgd.averaging import ema as ema
from funcsgd.averaging import swa as swa
from funcsgd.learning_rate import ScaleByLearningRateState as ScaleByLearningRateState
from funcsgd.learning_rate import get_learning_rate as get_learning_rate
from funcsgd.learning_rate import scale_by_learning_rate as scale_by_learning_rate
from funcsgd.momentum import AddMomentumState as AddMomentumState
from funcsgd.momentum import add_momentum as add_momentum
from funcsgd.optimizer import sgd as sgd
from funcsgd.parameter_groups import ParameterGroups as ParameterGroups
from funcsgd.parameter_groups import sgd_from_groups as sgd_from_groups
from funcsgd.weight_decay import add_weight_decay as add_weight_decay

__all__ = [
    "AddMomentumState",
    "Average",
    "AverageState",
    "Exactness",
    "ParameterGroups",
    "ScaleByLearningRateState",
    "WithAverageState",
    "add_momentum",
    "add_weight_decay",
    "averaged_params",
    "ema",
    "exactness",
    "get_learning_rate",
    "rounded",
    "scale_by_learning_rate",
    "sgd",
    "sgd_from_groups",
    "swa",
    "with_average",
]
