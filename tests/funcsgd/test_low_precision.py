"""bfloat16 and float16 calculate in float32 and round once; complex64 is torch's, bit for bit, where it is finite."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch

import funcsgd
from tests.support.sampling import one_in
from tests.support.torch_runs import by_step, differing_bits, legal_flags, name_of, our_run, random_run, torch_run

LR = 0.0137
DTYPES = {"bfloat16": (ml_dtypes.bfloat16, torch.bfloat16), "float16": (np.float16, torch.float16)}
SHAPES = ((1,), (33,), (4099,))
FLAGS = [flags for flags in legal_flags() if flags["momentum"] in (0.0, 0.9)]
every_flag = pytest.mark.parametrize("flags", one_in(2, FLAGS), ids=name_of)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def multiply_add(a, b, c):
    """fl(a * b + c) in float32: the product of two float32 is exact in float64, and 53 bits carry the sum here.

    The sum in float64 could round to a tie of float32 that the exact sum is not; random numbers do not meet it, and
    bits that differ would say so.
    """
    return (np.float64(a) * np.float64(b) + np.float64(c)).astype(np.float32)


def in_numpy(params, gradients, dtype, momentum, dampening, weight_decay, nesterov, maximize):
    """torch.optim.SGD's lines in float32, each result rounded to the low precision once."""
    after = []
    for p, gs in zip(params, gradients, strict=True):
        buffer, kept = None, []
        for g in gs:
            g = -g if maximize else g
            if weight_decay:
                g = multiply_add(p, np.float32(weight_decay), g).astype(dtype)
            if momentum:
                if buffer is None:
                    buffer = g
                else:
                    buffer = (buffer.astype(np.float32) * np.float32(momentum)).astype(dtype)
                    buffer = multiply_add(g, np.float32(1 - dampening), buffer).astype(dtype)
                g = multiply_add(buffer, np.float32(momentum), g).astype(dtype) if nesterov else buffer
            p = multiply_add(g, np.float32(-LR), p).astype(dtype)
            kept.append(p)
        after.append(np.stack(kept))
    return after


def gentle_run(dtype, steps):
    """Within three decades, so that float16 neither overflows nor meets its subnormals often."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.uniform(0.01, 10, shape).astype(dtype) * rng.choice([-1, 1], shape).astype(dtype)  # noqa: E731
    return [draw(*shape) for shape in SHAPES], [draw(steps, *shape) for shape in SHAPES]


def test_two_steps_by_hand():
    one, tiny = ml_dtypes.bfloat16(1), ml_dtypes.bfloat16(2**-8)  # 1 + 2**-8 is halfway between 1 and 1 + 2**-7
    (p,) = our_run(funcsgd.sgd(1.0), [np.array([one])], [[np.array([-tiny])], [np.array([-3 * tiny])]])
    assert p.astype(float).tolist() == [[1.0], [1 + 2**-6]]  # to even, down; then 1 + 3 * 2**-8, to even, up


@every_dtype
@every_flag
def test_one_rounding_a_line(dtype, flags):
    dtype, _ = DTYPES[dtype]
    params, gradients = gentle_run(dtype, steps=20)
    ours = our_run(funcsgd.sgd(LR, **flags), params, by_step(gradients))
    assert differing_bits(ours, in_numpy(params, gradients, dtype, **flags)) == 0


def test_the_state_keeps_the_parameters_precision():
    params = {name: jnp.ones(3, dtype) for name, (dtype, _) in DTYPES.items()}
    state = funcsgd.sgd(0.1, momentum=0.9).init(params)
    assert [b.dtype for b in jax.tree.leaves(state[2].momentum_buffer)] == [p.dtype for p in params.values()]


@every_dtype
@pytest.mark.parametrize("how", [{"foreach": False}, {"foreach": True}], ids=["for-loop", "foreach"])
def test_one_step_is_as_near_to_torchs_as_the_roundings_say(dtype, how):
    """torch rounds lr, and in the last elements also lr * g, to the low precision, and so do both the result.

    So the exact results of the two differ by at most ``(2 u + u * u) * lr * g``, where ``u`` is half an ulp of 1, and
    each is rounded by at most ``u`` of itself. The sums are taken in float32, whose own roundings are below
    ``2**-23`` of the larger term.
    """
    dtype, in_torch = DTYPES[dtype]
    u = float(ml_dtypes.finfo(dtype).eps) / 2
    params, gradients = gentle_run(dtype, steps=1)
    for p, (g,), (ours,) in zip(params, gradients, our_run(funcsgd.sgd(LR), params, by_step(gradients)), strict=True):
        tensor = torch.tensor(p.astype(np.float32)).to(in_torch).requires_grad_()
        tensor.grad = torch.tensor(g.astype(np.float32)).to(in_torch)
        torch.optim.SGD([tensor], LR, **how).step()
        p, g, ours, theirs = (np.float64(x) for x in (p, g, ours, tensor.detach().float().numpy()))
        step = np.abs(LR * g)
        bound = (2 * u + u * u) * step + u * (np.abs(ours) + np.abs(theirs)) + 2**-22 * (np.abs(p) + step)
        assert (np.abs(ours - theirs) <= bound).all()


def complex_run(steps):
    def joined(a, b):
        return a + np.complex64(1j) * b

    p, g = random_run(np.float32, SHAPES, steps)
    q, h = random_run(np.float32, SHAPES, steps, seed=1)
    return [joined(a, b) for a, b in zip(p, q, strict=True)], [joined(a, b) for a, b in zip(g, h, strict=True)]


@every_flag
def test_parity_of_complex_numbers(flags):
    params, gradients = complex_run(steps=20)
    ours = our_run(funcsgd.sgd(LR, **flags), params, by_step(gradients))
    for how in ({"foreach": False}, {"foreach": True}):
        assert differing_bits(ours, torch_run(params, by_step(gradients), lr=LR, **how, **flags)) == 0


def test_complex_parameters_are_not_multiplied_by_an_imaginary_zero():
    """torch multiplies by alpha + 0i, and infinity times that zero is NaN; here each part is scaled alone."""
    params, gradients = [np.array([1 + 1j], np.complex64)], [[np.array([complex(np.inf, 1)], np.complex64)]]
    (ours,) = our_run(funcsgd.sgd(0.5), params, gradients)
    (theirs,) = torch_run(params, gradients, lr=0.5, foreach=False)
    assert ours[0, 0] == complex(-np.inf, 0.5)
    assert np.isnan(theirs[0, 0].imag)
