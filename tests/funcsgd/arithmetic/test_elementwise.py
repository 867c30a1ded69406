"""The roundings of torch's kernels, one at a time, and the canary that says whether they hold here."""

import contextlib

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch

import funcsgd
from funcsgd.arithmetic import (
    UnroundedUpdate,
    add,
    addcdiv,
    addcmul,
    by_parts,
    div,
    elementwise,
    exact_arithmetic,
    lerp,
    mul,
    rounded,
)
from funcsgd.arithmetic.marks import INTERLEAVES
from tests.support.sampling import one_in
from tests.support.torch_runs import bits, differing_bits, random_run, subnormals_flushed

ALPHAS = (0.9, -0.0137, 1.0, -1.0, 3e7, 1 - 0.1)
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.5, 3e38, -3e38, 2e-38]
SUBNORMAL = [-1e-45, 1e-45]


def test_scaled_then_added_by_hand():
    a = jnp.float32(1 + 2**-12)  # a * a = 1 + 2**-11 + 2**-24; the last term is below float32
    minus_square = jnp.float32(-1 - 2**-11)
    assert float(jax.jit(lambda a, c: mul(a, 1 + 2**-12) + c)(a, minus_square)) == 0.0
    assert float(jax.jit(lambda a, c: add(c, a, alpha=1 + 2**-12))(a, minus_square)) == 2**-24


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16, np.float16, np.complex64])
def test_rounded_changes_no_bit(x64, dtype):
    with np.errstate(over="ignore"):  # 3e38 is infinite in float16
        x = np.array([*SPECIAL, *SUBNORMAL, *random_run(np.float64)[0][-1]]).astype(dtype)
    if dtype is np.complex64:
        x.imag = x.real[::-1]
    for f in (rounded, jax.jit(rounded), jax.jit(jax.vmap(rounded))):
        np.testing.assert_array_equal(bits(f(x)), bits(x))


def test_rounded_has_the_derivative_of_the_identity():
    x = jnp.array([-2.0, -0.0, 0.0, 3.0])
    assert jax.grad(lambda x: (rounded(x) * jnp.arange(4.0)).sum())(x).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert jax.jvp(rounded, (x,), (x,))[1].tolist() == x.tolist()


def test_a_backend_that_is_not_there():
    with pytest.raises(RuntimeError, match="no_such_backend"):
        funcsgd.exactness("no_such_backend")


def test_this_machine_is_bitwise():
    found = funcsgd.exactness("cpu")
    short = found.holds["a last axis of 16 or less"]
    assert all(held for pattern, held in found.holds.items() if pattern != "a last axis of 16 or less")
    assert (found.bitwise, short) == (not INTERLEAVES, not INTERLEAVES)
    assert str(found) == ("cpu: bitwise" if short else "cpu: rounding for a last axis of 16 or less; otherwise bitwise")


def test_the_canary_finds_fusion_where_there_should_be_none(monkeypatch):
    monkeypatch.setattr(elementwise, "rounded", lambda x: x)
    found = funcsgd.exactness("cpu")
    assert not found.bitwise
    assert not found.holds["a rounded product and a sum"]
    assert "rounding for a rounded product and a sum" in str(found)


def test_the_canary_finds_what_a_compiler_draws_into_a_product(monkeypatch):
    monkeypatch.setattr(elementwise, "hidden", lambda y, beside, constant: rounded(y))
    found = funcsgd.exactness("cpu")
    assert (found.holds["a product and a sum"], found.holds["a broadcast array"]) == (True, False)
    assert not found.holds["a select in front"]


@pytest.mark.thorough
def test_the_canary_finds_missing_fusion():
    with jax.disable_jit():
        found = funcsgd.exactness("cpu")
    assert (found.bitwise, found.holds["a rounded product and a sum"]) == (False, True)
    assert str(found) == "cpu: rounding (a product and a sum are not fused)"


def operands(dtype, special=()):
    (x,), (y,) = random_run(dtype, shapes=((4099,),), steps=1)
    pairs = np.array([(a, b) for a in special for b in special]).astype(dtype).reshape(-1, 2)
    return np.concatenate([x, pairs[:, 0]]), np.concatenate([y[0], pairs[:, 1]])


@pytest.mark.parametrize("alpha", [*ALPHAS, 0.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parity_with_torchs_add_and_mul(x64, dtype, alpha):
    # XLA takes x * 1 for x, which lets a subnormal stand; any other product flushes it.
    x, y = operands(dtype, SPECIAL if abs(alpha) == 1 else SPECIAL + SUBNORMAL)
    with subnormals_flushed():
        theirs = [torch.add(torch.tensor(x), torch.tensor(y), alpha=alpha), torch.tensor(x).mul_(alpha)]
    ours = jax.jit(lambda x, y: (add(x, y, alpha=alpha), mul(x, alpha)))(x, y)
    assert differing_bits(ours, [t.numpy() for t in theirs]) == 0


@pytest.mark.parametrize("alpha", ALPHAS)
def test_parity_of_finite_complex_numbers(alpha):
    # alpha = 0 is left out: torch's complex product also meets alpha's imaginary zero, which decides signs of zeros.
    x, y = (a[:-1] + np.complex64(1j) * a[1:] for a in operands(np.float32))
    theirs = [torch.add(torch.tensor(x), torch.tensor(y), alpha=alpha), torch.tensor(x).mul_(alpha)]
    ours = jax.jit(lambda x, y: (add(x, y, alpha=alpha), mul(x, alpha)))(x, y)
    assert differing_bits(ours, [t.numpy() for t in theirs]) == 0


def test_parity_of_terms_that_are_products_in_the_same_program():
    x, y = operands(np.float32)
    theirs = torch.add(torch.tensor(x) * torch.tensor(y), torch.tensor(y) * torch.tensor(y), alpha=0.9)
    assert differing_bits([jax.jit(lambda x, y: add(x * y, y * y, alpha=0.9))(x, y)], [theirs.numpy()]) == 0


def test_where_subnormals_part_from_torch():
    """XLA's CPU backend takes subnormals for zeros of their sign; torch does so only if that is set."""
    x = np.float32([1e-40, -1e-40])
    theirs = torch.tensor(x).mul_(4.0).numpy()
    ours = np.asarray(jax.jit(lambda x: mul(x, 4.0))(x))
    assert bits(theirs).tolist() == bits(4 * x).tolist()
    assert bits(ours).tolist() == bits(0 * x).tolist()
    with subnormals_flushed():
        assert differing_bits([ours], [torch.tensor(x).mul_(4.0).numpy()]) == 0


OPERATIONS = {
    "mul": (lambda x, a, b: mul(x, 0.3), lambda x, a, b: x.mul(0.3)),
    "div by a number": (lambda x, a, b: div(x, 0.3), lambda x, a, b: x.div(0.3)),
    "div by an array": (lambda x, a, b: div(x, b), lambda x, a, b: x.div(b)),
    "add": (lambda x, a, b: add(x, a, alpha=0.3), lambda x, a, b: x.add(a, alpha=0.3)),
    "addcmul": (addcmul, lambda x, a, b: x.addcmul(a, b)),
    "addcmul, value": (lambda x, a, b: addcmul(x, a, b, value=0.3), lambda x, a, b: x.addcmul(a, b, value=0.3)),
    "addcmul, value -1": (lambda x, a, b: addcmul(x, a, b, value=-1), lambda x, a, b: x.addcmul(a, b, value=-1)),
    "addcdiv": (addcdiv, lambda x, a, b: x.addcdiv(a, b)),
    "addcdiv, value": (lambda x, a, b: addcdiv(x, a, b, value=-0.3), lambda x, a, b: x.addcdiv(a, b, value=-0.3)),
    "lerp from the start": (lambda x, a, b: lerp(x, a, 0.1), lambda x, a, b: x.lerp(a, 0.1)),
    "lerp from the end": (lambda x, a, b: lerp(x, a, 0.7), lambda x, a, b: x.lerp(a, 0.7)),
    "lerp from the middle": (lambda x, a, b: lerp(x, a, 0.5), lambda x, a, b: x.lerp(a, 0.5)),
    "lerp, traced weight": (lambda x, a, b: lerp(x, a, jnp.float32(0.3)), lambda x, a, b: x.lerp(a, f32(0.3))),
}


def f32(x):
    return float(np.float32(x))


@pytest.mark.parametrize("exact", [False, True], ids=["marked", "exact"])
@pytest.mark.parametrize("dtype", one_in(2, ["float32", "float64"]))
@pytest.mark.parametrize("name", OPERATIONS)
def test_torchs_operations_in_both_arithmetics(name, dtype, exact):
    ours, theirs = OPERATIONS[name]
    rng = np.random.default_rng(0)
    x, a, b = (rng.standard_normal((3, 10_007)) * 10 ** rng.uniform(-3, 3, (3, 10_007))).astype(dtype)
    with jax.enable_x64(dtype == "float64"), exact_arithmetic() if exact else contextlib.nullcontext():
        found = jax.jit(ours)(x, a, b)
    assert differing_bits([found], [theirs(*map(torch.tensor, (x, a, b))).numpy()]) == 0


def test_a_complex_function_is_applied_by_parts():
    z = jnp.array([1 + 2j, 3 - 4j], jnp.complex64)
    doubled, nothing = by_parts(lambda x, y: (x + x, y), z, None)
    assert doubled.tolist() == [2 + 4j, 6 - 8j]
    assert nothing is None


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_an_update_that_replaces_ends_at_the_new_value_through_a_jit_boundary(dtype):
    """Also where no number is the difference: signs change, sizes differ by many orders."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == "float64"):
        p, new = (
            (rng.standard_normal((2, 5000)) * 10 ** rng.uniform(-12, 12, (2, 5000))).astype(dtype)
            if dtype != "complex64"
            else (rng.standard_normal((2, 5000)) + 1j * 10 ** rng.uniform(-9, 9, (2, 5000))).astype(dtype)
        )
        update = jax.jit(UnroundedUpdate.replacing)(p, new)
        assert differing_bits([jnp.asarray(p) + update], [new]) == 0
        assert differing_bits([jax.jit(lambda p, u: p + u)(p, update)], [new]) == 0
        plain = p + (new - p)
    assert differing_bits([plain], [new]) > 0
