"""Clipping, against torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from funcsgd import clip_grad_norm, clip_grad_value, sgd
from funcsgd.stages import get_total_norm
from tests.support.sampling import one_in

SHAPES = ((1,), (7,), (8,), (33,), (64, 33), (4099,))


def clipped_by(tx, grads):
    return jax.jit(lambda g: tx.update(g, tx.init(g)))(grads)


def parameters(grads):
    made = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.from_numpy(g).dtype)) for g in grads]
    for parameter, g in zip(made, grads, strict=True):
        parameter.grad = torch.from_numpy(g.copy())
    return made


def differing(ours, theirs):
    pairs = zip(ours, theirs, strict=True)
    return sum(not np.array_equal(np.asarray(a), b.grad.numpy(), equal_nan=True) for a, b in pairs)


def test_by_hand():
    (g,), state = clipped_by(clip_grad_norm(2.0), [jnp.array([4.0, 0.0])])
    reciprocal = np.float32(1) / (np.float32(4) + np.float32(1e-6))
    assert (float(g[0]), float(g[1])) == (float(np.float32(4) * (reciprocal * np.float32(2))), 0.0)
    assert (float(state.info.total_norm), bool(state.info.nonfinite)) == (4.0, False)


def test_a_small_gradient_passes():
    grads = [jnp.array([0.3, -0.0]), None]
    clipped, _ = clipped_by(clip_grad_norm(1.0), grads)
    assert (clipped[0] == grads[0]).all()
    assert clipped[1] is None


@pytest.mark.parametrize("dtype", one_in(2, ["float32", "float64"]))
@pytest.mark.parametrize("norm_type", one_in(2, [2.0, "inf"]))
def test_equal_to_torch_over_a_thousand_steps(x64, dtype, norm_type):
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=(1000, *shape)).astype(dtype) for shape in SHAPES]
    limits = rng.uniform(50, 120, 1000) if norm_type == 2.0 else rng.uniform(2, 6, 1000)  # some do not bite

    def step(_, inputs):
        grads, limit = inputs
        tx = clip_grad_norm(limit, norm_type)
        return None, tx.update(grads, tx.init(grads))

    clipped, (info,) = jax.jit(lambda xs: jax.lax.scan(step, None, xs)[1])((gradients, limits))
    for t in range(1000):
        theirs = parameters([g[t] for g in gradients])
        assert torch.nn.utils.clip_grad_norm_(theirs, limits[t], norm_type).numpy() == info.total_norm[t]
        assert differing([g[t] for g in clipped], theirs) == 0


@pytest.mark.parametrize("max_norm", one_in(2, [1.0, 0.0, -1.0, float("inf"), float("nan")]))
@pytest.mark.parametrize("value", [2.0, 0.0, 1e-30, float("inf"), float("-inf"), float("nan")])
def test_extremes(max_norm, value):
    grads = [np.array([value, -1.0, 0.0, 2.0, 1.0], "float32"), np.ones(3, "float32")]
    theirs = parameters(grads)
    torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert differing(clipped_by(clip_grad_norm(max_norm), grads)[0], theirs) == 0


def test_mixed_dtypes(x64):
    grads = [np.full(3, 0.1, "float32"), np.full(3, 0.1)]
    theirs = parameters(grads)
    norm = torch.nn.utils.clip_grad_norm_(theirs, 0.1)
    clipped, state = clipped_by(clip_grad_norm(0.1), grads)
    assert state.info.total_norm.dtype == jnp.float64
    # The order of the two norms is not torch's own to keep; either way the sum of two squares is within an ulp.
    assert float(state.info.total_norm) == pytest.approx(float(norm), rel=2 * np.finfo(float).eps)
    assert [x.dtype for x in clipped] == [jnp.float32, jnp.float64]


def test_no_gradients():
    clipped, state = clipped_by(clip_grad_norm(1.0), {"a": None})
    assert (clipped, float(state.info.total_norm)) == ({"a": None}, 0.0)


def test_a_norm_that_is_not_finite_is_an_error_outside_jit_and_a_flag_inside():
    grads = [np.array([np.inf, 1.0], "float32")]
    tx = clip_grad_norm(1.0, error_if_nonfinite=True)
    with pytest.raises(RuntimeError, match="is non-finite") as theirs:
        torch.nn.utils.clip_grad_norm_(parameters(grads), 1.0, error_if_nonfinite=True)
    with pytest.raises(RuntimeError, match="is non-finite") as ours:
        tx.update(grads, tx.init(grads))
    assert str(ours.value) == str(theirs.value)
    clipped, state = clipped_by(tx, grads)
    assert bool(state.info.nonfinite)
    assert clipped[0].tolist() == grads[0].tolist()


def test_the_limit_must_be_one_number():
    for make in (clip_grad_norm, clip_grad_value):
        with pytest.raises(ValueError, match="must be 1-element"):
            make(jnp.ones(2))


def test_limits_side_by_side_under_vmap():
    grads = np.random.default_rng(0).normal(size=77).astype("float32")
    limits = np.array([0.5, 3.0, 100.0], "float32")

    def clipped(limit):
        tx = clip_grad_norm(limit)
        return tx.update([grads], tx.init([grads]))[0][0]

    together = jax.jit(jax.vmap(clipped))(limits)
    for got, limit in zip(together, limits, strict=True):
        theirs = parameters([grads])
        torch.nn.utils.clip_grad_norm_(theirs, float(limit))
        assert differing([got], theirs) == 0


def test_the_state_keeps_its_dtypes(x64):
    params = [jnp.ones(3), jnp.ones(2, jnp.bfloat16)]
    tx = clip_grad_norm(1.0)
    described = jax.tree.map(lambda x: (x.shape, x.dtype), tx.init(params))
    _, state = tx.update([jnp.ones(3, jnp.float32), None], tx.init(params))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == described


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip_value", [0.5, 0.0, -1.0, float("inf"), float("nan")])
def test_values_equal_torchs(x64, clip_value, dtype):
    grads = [np.random.default_rng(0).normal(size=1001).astype(dtype), np.array([np.nan, np.inf, -np.inf, 0.0], dtype)]
    theirs = parameters(grads)
    torch.nn.utils.clip_grad_value_(theirs, clip_value)
    assert differing(clipped_by(clip_grad_value(clip_value), grads)[0], theirs) == 0


def plainly(epsilon, divide):
    """Clipping as it is easily written: the faults to be found."""

    def update(updates, state, params=None):
        norm = get_total_norm(updates)
        factor = 3.0 / (norm + epsilon) if divide else (1 / (norm + epsilon)) * 3.0
        return jax.tree.map(lambda g: g * jnp.minimum(factor, 1), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


@pytest.mark.parametrize("fault", [plainly(0.0, False), plainly(1e-6, True), optax.clip_by_global_norm(3.0)])
def test_planted_faults_are_found(fault):
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(20, 33)).astype("float32")
    right, _ = jax.jit(jax.vmap(lambda g: clip_grad_norm(3.0).update(g, clip_grad_norm(3.0).init(g))))(batch)
    wrong, _ = jax.jit(jax.vmap(lambda g: fault.update(g, fault.init(g))))(batch)
    found = 0
    for g, ours, faulty in zip(batch, right, wrong, strict=True):
        theirs = parameters([g])
        torch.nn.utils.clip_grad_norm_(theirs, 3.0)
        assert differing([ours], theirs) == 0
        found += differing([faulty], theirs)
    assert found > 0


def test_exports_for_every_platform():
    tx = optax.chain(clip_grad_norm(1.0), clip_grad_value(0.5), sgd(0.1, 0.9))
    grads = [jnp.ones(9), jnp.ones((3, 5))]
    platforms = ("cpu", "cuda", "rocm", "tpu")
    exported = jax.export.export(jax.jit(tx.update), platforms=platforms)(grads, tx.init(grads), grads)
    assert exported.platforms == platforms
