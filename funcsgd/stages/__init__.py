"""The stages between a gradient and an update, one in a file: rules are chains of these."""

from funcsgd.stages.clipping import ClipGradNormInfo as ClipGradNormInfo
from funcsgd.stages.clipping import ClipGradNormState as ClipGradNormState
from funcsgd.stages.clipping import clip_grad_norm as clip_grad_norm
from funcsgd.stages.clipping import clip_grad_value as clip_grad_value
from funcsgd.stages.drop_gradients import drop_gradients as drop_gradients
from funcsgd.stages.gradient_norm import get_total_norm as get_total_norm
from funcsgd.stages.learning_rate import ScaleByLearningRateState as ScaleByLearningRateState
from funcsgd.stages.learning_rate import get_learning_rate as get_learning_rate
from funcsgd.stages.learning_rate import scale_by_learning_rate as scale_by_learning_rate
from funcsgd.stages.learning_rate import set_learning_rate as set_learning_rate
from funcsgd.stages.momentum import AddMomentumState as AddMomentumState
from funcsgd.stages.momentum import add_momentum as add_momentum
from funcsgd.stages.round_updates import round_updates as round_updates
from funcsgd.stages.scheduled_learning_rate import ScaleBySchedulersState as ScaleBySchedulersState
from funcsgd.stages.scheduled_learning_rate import scale_by_plateau as scale_by_plateau
from funcsgd.stages.scheduled_learning_rate import scale_by_schedulers as scale_by_schedulers
from funcsgd.stages.weight_decay import add_weight_decay as add_weight_decay

__all__ = [
    "AddMomentumState",
    "ClipGradNormInfo",
    "ClipGradNormState",
    "ScaleByLearningRateState",
    "ScaleBySchedulersState",
    "add_momentum",
    "add_weight_decay",
    "clip_grad_norm",
    "clip_grad_value",
    "drop_gradients",
    "get_learning_rate",
    "get_total_norm",
    "round_updates",
    "scale_by_learning_rate",
    "scale_by_plateau",
    "scale_by_schedulers",
    "set_learning_rate",
]
