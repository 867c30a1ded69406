"""Pure functional update rules for JAX with PyTorch's semantics, bit for bit where hardware allows."""

from funcsgd import manifest as manifest
from funcsgd import noisy_quadratic as noisy_quadratic
from funcsgd.arithmetic import Exactness as Exactness
from funcsgd.arithmetic import SquareRoot as SquareRoot
from funcsgd.arithmetic import UnroundedUpdate as UnroundedUpdate
from funcsgd.arithmetic import exact_arithmetic as exact_arithmetic
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
from funcsgd.curvature import DirectionalDerivatives as DirectionalDerivatives
from funcsgd.curvature import directional_curvature as directional_curvature
from funcsgd.curvature import directional_derivatives as directional_derivatives
from funcsgd.curvature import gauss_newton_curvature as gauss_newton_curvature
from funcsgd.curvature import gauss_newton_product as gauss_newton_product
from funcsgd.curvature import hvp as hvp
from funcsgd.frozen_parameters import freeze as freeze
from funcsgd.gradient_norm import get_total_norm as get_total_norm
from funcsgd.hessian_diagonal import hutchinson_diagonal as hutchinson_diagonal
from funcsgd.learning_rate import ScaleByLearningRateState as ScaleByLearningRateState
from funcsgd.learning_rate import get_learning_rate as get_learning_rate
from funcsgd.learning_rate import scale_by_learning_rate as scale_by_learning_rate
from funcsgd.learning_rate import set_learning_rate as set_learning_rate
from funcsgd.line_search import QuadraticStepState as QuadraticStepState
from funcsgd.line_search import observe_quadratic_step as observe_quadratic_step
from funcsgd.line_search import scale_by_quadratic_linesearch as scale_by_quadratic_linesearch
from funcsgd.momentum import AddMomentumState as AddMomentumState
from funcsgd.momentum import add_momentum as add_momentum
from funcsgd.observation import observe as observe
from funcsgd.observation import observing as observing
from funcsgd.optimizers import AdamState as AdamState
from funcsgd.optimizers import adam as adam
from funcsgd.optimizers import adamw as adamw
from funcsgd.optimizers import sgd as sgd
from funcsgd.parameter_groups import ParameterGroups as ParameterGroups
from funcsgd.parameter_groups import from_groups as from_groups
from funcsgd.plateau import ReduceLROnPlateau as ReduceLROnPlateau
from funcsgd.plateau import ReduceLROnPlateauState as ReduceLROnPlateauState
from funcsgd.plateau import reduce_lr_on_plateau as reduce_lr_on_plateau
from funcsgd.preconditioning import DiagonalInfo as DiagonalInfo
from funcsgd.preconditioning import ScaleByDiagonalState as ScaleByDiagonalState
from funcsgd.preconditioning import ScaleByHutchinsonState as ScaleByHutchinsonState
from funcsgd.preconditioning import scale_by_diagonal as scale_by_diagonal
from funcsgd.preconditioning import scale_by_hutchinson as scale_by_hutchinson
from funcsgd.quadratic_step import QuadraticStepInfo as QuadraticStepInfo
from funcsgd.round_updates import round_updates as round_updates
from funcsgd.schedulers import ScaleBySchedulersState as ScaleBySchedulersState
from funcsgd.schedulers import scale_by_plateau as scale_by_plateau
from funcsgd.schedulers import scale_by_schedulers as scale_by_schedulers
from funcsgd.schedules import MomentumSchedule as MomentumSchedule
from funcsgd.schedules import Schedule as Schedule
from funcsgd.schedules import chained_scheduler as chained_scheduler
from funcsgd.schedules import constant_lr as constant_lr
from funcsgd.schedules import cosine_annealing_lr as cosine_annealing_lr
from funcsgd.schedules import cosine_annealing_warm_restarts as cosine_annealing_warm_restarts
from funcsgd.schedules import cyclic_lr as cyclic_lr
from funcsgd.schedules import exponential_lr as exponential_lr
from funcsgd.schedules import inverse_time_lr as inverse_time_lr
from funcsgd.schedules import lambda_lr as lambda_lr
from funcsgd.schedules import linear_lr as linear_lr
from funcsgd.schedules import multi_step_lr as multi_step_lr
from funcsgd.schedules import multiplicative_lr as multiplicative_lr
from funcsgd.schedules import one_cycle_lr as one_cycle_lr
from funcsgd.schedules import per_epoch as per_epoch
from funcsgd.schedules import polynomial_lr as polynomial_lr
from funcsgd.schedules import sequential_lr as sequential_lr
from funcsgd.schedules import step_lr as step_lr
from funcsgd.schedules import swalr as swalr
from funcsgd.schedules import tabulate as tabulate
from funcsgd.training import BatchOrder as BatchOrder
from funcsgd.training import Epoch as Epoch
from funcsgd.training import History as History
from funcsgd.training import Run as Run
from funcsgd.training import Step as Step
from funcsgd.training import TrainingState as TrainingState
from funcsgd.training import batch_order as batch_order
from funcsgd.training import grid as grid
from funcsgd.training import progress_bar as progress_bar
from funcsgd.training import sweep as sweep
from funcsgd.training import train as train
from funcsgd.training import train_batches as train_batches
from funcsgd.verification import LeafDifference as LeafDifference
from funcsgd.verification import Verification as Verification
from funcsgd.verification import assert_bitwise as assert_bitwise
from funcsgd.verification import verify as verify
from funcsgd.weight_decay import add_weight_decay as add_weight_decay

__all__ = [
    "AdamState",
    "AddMomentumState",
    "Average",
    "AverageState",
    "BatchOrder",
    "ClipGradNormInfo",
    "ClipGradNormState",
    "DiagonalInfo",
    "DirectionalDerivatives",
    "Epoch",
    "Exactness",
    "History",
    "LeafDifference",
    "MomentumSchedule",
    "ParameterGroups",
    "QuadraticStepInfo",
    "QuadraticStepState",
    "ReduceLROnPlateau",
    "ReduceLROnPlateauState",
    "Run",
    "ScaleByDiagonalState",
    "ScaleByHutchinsonState",
    "ScaleByLearningRateState",
    "ScaleBySchedulersState",
    "Schedule",
    "SquareRoot",
    "Step",
    "TrainingState",
    "UnroundedUpdate",
    "Verification",
    "WithAverageState",
    "adam",
    "adamw",
    "add_momentum",
    "add_weight_decay",
    "assert_bitwise",
    "averaged_params",
    "batch_order",
    "chained_scheduler",
    "clip_grad_norm",
    "clip_grad_value",
    "constant_lr",
    "cosine_annealing_lr",
    "cosine_annealing_warm_restarts",
    "cyclic_lr",
    "directional_curvature",
    "directional_derivatives",
    "ema",
    "exact_arithmetic",
    "exactness",
    "exponential_lr",
    "freeze",
    "from_groups",
    "gauss_newton_curvature",
    "gauss_newton_product",
    "get_learning_rate",
    "get_total_norm",
    "grid",
    "hutchinson_diagonal",
    "hvp",
    "inverse_time_lr",
    "lambda_lr",
    "linear_lr",
    "manifest",
    "multi_step_lr",
    "multiplicative_lr",
    "noisy_quadratic",
    "observe",
    "observe_quadratic_step",
    "observing",
    "one_cycle_lr",
    "per_epoch",
    "polynomial_lr",
    "progress_bar",
    "reduce_lr_on_plateau",
    "round_updates",
    "rounded",
    "scale_by_diagonal",
    "scale_by_hutchinson",
    "scale_by_learning_rate",
    "scale_by_plateau",
    "scale_by_quadratic_linesearch",
    "scale_by_schedulers",
    "sequential_lr",
    "set_learning_rate",
    "sgd",
    "step_lr",
    "swa",
    "swalr",
    "sweep",
    "tabulate",
    "train",
    "train_batches",
    "update_bn",
    "verify",
    "with_average",
]
