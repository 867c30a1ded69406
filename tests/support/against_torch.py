"""One question for every draw: are the values, and where the stream stands afterwards, torch's in every bit?"""

import ml_dtypes
import numpy as np
import torch

from torch_bridge.random import Generator

SEEDS = (
    0,
    1,
    2,
    3,
    7,
    42,
    123,
    5489,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**32 + 42,
    2**40 + 5,
    2**63,
    2**64 - 1,
)
SEEDS += (-1, -42, -(2**63))
DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "bfloat16", "float16")}


def bits(values):
    """The bits of a tensor or array, as integers in logical order."""
    if isinstance(values, torch.Tensor):
        values = values.detach()
        if values.dtype == torch.bfloat16:
            values = values.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        else:
            values = values.numpy()
    values = np.ascontiguousarray(values)
    return values.view(f"u{values.itemsize}") if values.dtype.kind in "fV" else values


def assert_same_draw(torch_draw, our_draw, seeds=SEEDS):
    """Draw by both from each seed; compare values, dtypes, shapes, and all 5056 bytes of the state afterwards."""
    for seed in seeds:
        theirs = torch.manual_seed(seed)
        ours = Generator(seed)
        expected, actual = torch_draw(), our_draw(ours)
        assert str(expected.dtype).removeprefix("torch.") == actual.dtype.name
        np.testing.assert_array_equal(bits(actual), bits(expected), err_msg=f"seed {seed}", strict=True)
        np.testing.assert_array_equal(ours.get_state(), theirs.get_state().numpy(), err_msg=f"state, seed {seed}")


def message_of(error, call):
    """The first line of the error that a call must raise."""
    try:
        call()
    except error as caught:
        return str(caught).split("\n")[0]
    raise AssertionError(f"no {error.__name__}")
