"""Which torch calls of a step matter to its loss, and torch's stack of modes, through which they pass."""

from typing import Any

import numpy as np
import torch
from torch import overrides

# Random values are data: the float64 evaluation takes those that the run drew.
DRAWS = frozenset(
    """rand randn randint randperm rand_like randn_like randint_like normal bernoulli multinomial poisson binomial
    normal_ uniform_ exponential_ bernoulli_ random_ cauchy_ log_normal_ geometric_""".split()  # noqa: SIM905
)
# What gives no tensor, or nothing that a loss could depend on, is not worth noting.
_PASSIVE = frozenset(
    """backward dim size stride numel item tolist numpy is_contiguous is_floating_point is_complex storage data_ptr
    untyped_storage element_size _set_grad_enabled __len__ __bool__ __format__ __repr__ __array__ __hash__ __float__
    __int__ __index__""".split()  # noqa: SIM905
)
_NOTED_GETTERS = tuple(getattr(torch.Tensor, name) for name in ("T", "mT", "H", "mH", "real", "imag", "data"))
_NOTED_SETTERS = tuple(getattr(torch.Tensor, name) for name in ("data", "requires_grad"))
NARROWING = {"half": "double", "bfloat16": "double", "float": "double"}
RUN_SCRIPT_CODE = ("CheckpointFunction", "BackwardHookFunction")  # torch's own functions around code of the script


def is_transformed() -> bool:
    """Return True inside of torch.func's transformations, whose tensors are none that a tape could note."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def modes_taken_off() -> list[Any]:
    """Empty torch's stack of modes, and return them from the bottom up."""
    stack: Any = overrides
    return [stack._pop_mode() for _ in range(stack._len_torch_function_stack())][::-1]


def push_mode(mode: Any) -> None:
    """Put a mode on top of torch's stack."""
    stack: Any = overrides
    stack._push_mode(mode)


def is_passive(function: Any, name: str) -> bool:
    """Return True for a call that no loss could depend on."""
    owner = getattr(function, "__self__", None)
    return (
        name in _PASSIVE
        or (name == "__get__" and owner not in _NOTED_GETTERS)
        or (name == "__set__" and owner not in _NOTED_SETTERS)
    )


def holds_arrays(value: Any) -> bool:
    """Return True if there is a NumPy array in nested containers."""
    if isinstance(value, dict):
        return holds_arrays(list(value.values()))
    return any(map(holds_arrays, value)) if isinstance(value, list | tuple) else isinstance(value, np.ndarray)
