"""Pure functional update rules for JAX with PyTorch's semantics, bit for bit where hardware allows.

At the top are the optimizers, the stages that they are made of, whole runs, and the questions about bits. The rest is
in submodules, types beside their functions: `schedules`, `averages`, `curvature`, `training`, `noisy_quadratic`,
`arithmetic`, `verification`, and `manifest` for what each rule promises.
"""

from funcsgd import arithmetic as arithmetic
from funcsgd import averages as averages
from funcsgd import curvature as curvature
from funcsgd import manifest as manifest
from funcsgd import noisy_quadratic as noisy_quadratic
from funcsgd import optimizers as optimizers
from funcsgd import schedules as schedules
from funcsgd import stages as stages
from funcsgd import training as training
from funcsgd import verification as verification
from funcsgd.arithmetic import exact_arithmetic as exact_arithmetic
from funcsgd.arithmetic import exactness as exactness
from funcsgd.arithmetic import rounded as rounded
from funcsgd.observation import observe as observe
from funcsgd.observation import observing as observing
from funcsgd.optimizers import adam as adam
from funcsgd.optimizers import adamw as adamw
from funcsgd.optimizers import from_groups as from_groups
from funcsgd.optimizers import rmsprop as rmsprop
from funcsgd.optimizers import sgd as sgd
from funcsgd.stages import add_momentum as add_momentum
from funcsgd.stages import add_weight_decay as add_weight_decay
from funcsgd.stages import clip_grad_norm as clip_grad_norm
from funcsgd.stages import clip_grad_value as clip_grad_value
from funcsgd.stages import drop_gradients as drop_gradients
from funcsgd.stages import get_learning_rate as get_learning_rate
from funcsgd.stages import round_updates as round_updates
from funcsgd.stages import scale_by_learning_rate as scale_by_learning_rate
from funcsgd.stages import scale_by_plateau as scale_by_plateau
from funcsgd.stages import scale_by_schedulers as scale_by_schedulers
from funcsgd.stages import set_learning_rate as set_learning_rate
from funcsgd.training import sweep as sweep
from funcsgd.training import train as train
from funcsgd.verification import assert_bitwise as assert_bitwise
from funcsgd.verification import verify as verify

__all__ = [
    "adam",
    "adamw",
    "add_momentum",
    "add_weight_decay",
    "arithmetic",
    "assert_bitwise",
    "averages",
    "clip_grad_norm",
    "clip_grad_value",
    "curvature",
    "drop_gradients",
    "exact_arithmetic",
    "exactness",
    "from_groups",
    "get_learning_rate",
    "manifest",
    "noisy_quadratic",
    "observe",
    "observing",
    "optimizers",
    "rmsprop",
    "round_updates",
    "rounded",
    "scale_by_learning_rate",
    "scale_by_plateau",
    "scale_by_schedulers",
    "schedules",
    "set_learning_rate",
    "sgd",
    "stages",
    "sweep",
    "train",
    "training",
    "verification",
    "verify",
]
