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
from funcsgd.batch_norm import update_bn as update_bn
from funcsgd.clipping import ClipGradNormInfo as ClipGradNormInfo
from funcsgd.clipping import ClipGradNormState as ClipGradNormState
from funcsgd.clipping import clip_grad_norm as clip_grad_norm
from funcsgd.clipping import clip_grad_value as clip_grad_value
from funcsgd.gradient_norm import get_total_norm as get_total_norm
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
    "ClipGradNormInfo",
    "ClipGradNormState",
    "Exactness",
    "ParameterGroups",
    "ScaleByLearningRateState",
    "WithAverageState",
    "add_momentum",
    "add_weight_decay",
    "averaged_params",
    "clip_grad_norm",
    "clip_grad_value",
    "ema",
    "exactness",
    "get_learning_rate",
    "get_total_norm",
    "rounded",
    "scale_by_learning_rate",
    "sgd",
    "sgd_from_groups",
    "swa",
    "update_bn",
    "with_average",
]
