import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.support.against_torch import SEEDS, bits, message_of
from tests.support.sampling import one_in
from torch_bridge.random import Generator, traced

SIZES = (17, 1, 625, 5000, 3)


def assert_same_bits(actual, expected):
    np.testing.assert_array_equal(bits(np.asarray(actual)), bits(expected), strict=True)


def assert_stands_like(state, generator):
    assert int(state.position) == generator.state.position
    np.testing.assert_array_equal(np.asarray(state.key), generator.state.key)


def test_torch_itself():
    for seed in SEEDS:
        torch.manual_seed(seed)
        state = traced.seeded(np.uint32(seed % 2**32))
        values, state = traced.draw_uniform(state, (3, 5))
        assert_same_bits(values, torch.rand(3, 5))
        values, state = traced.draw_permutation(state, 100)
        assert_same_bits(values, torch.randperm(100, dtype=torch.int32))
        values, state = traced.draw_normal(state, (7, 11))
        assert_same_bits(values, torch.randn(7, 11))
        values, state = traced.draw_integers(state, -3, 50, (4,))
        assert_same_bits(values, torch.randint(-3, 50, (4,), dtype=torch.int32))
        draw, state = traced.draw_seed(state)
        assert int(draw) == torch.empty((), dtype=torch.int64).random_().item() % 2**32
        theirs = Generator().set_state(torch.get_rng_state())
        assert_stands_like(state, theirs)


@pytest.mark.parametrize("n", one_in(2, SIZES))
def test_the_host_at_every_size(n):
    state, host = traced.seeded(7), Generator(7)
    for _ in range(2):
        values, state = traced.draw_permutation(state, n)
        assert_same_bits(values, host.randperm(n, "int32"))
        values, state = traced.draw_uniform(state, (n,), -1 / 3, 0.7)
        assert_same_bits(values, host.uniform(n, -1 / 3, 0.7))
        values, state = traced.draw_uniform(state, (n,), -1 / 3, 0.7, "bfloat16")
        assert_same_bits(values, host.uniform(n, -1 / 3, 0.7, "bfloat16"))
        if n >= 16:
            for dtype in ("float32", "bfloat16", "float16"):
                values, state = traced.draw_normal(state, (n,), 0.1, 0.3, dtype)
                assert_same_bits(values, host.normal(0.1, 0.3, n, dtype))
        assert_stands_like(state, host)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 1),
        (0, 2**28 - 1),
        (0, 2**28),
        (-(2**27), 2**28 + 12345),
        (0, 2**31),
        (-(2**31), 2**31 - 7),
        (-(2**31), 2**31),
    ],
)
def test_integers_around_the_threshold(low, high):
    state, host = traced.seeded(1), Generator(1)
    values, state = traced.draw_integers(state, low, high, (1001,))
    assert_same_bits(values, host.randint(low, high, 1001).astype(np.int32))
    assert_stands_like(state, host)


def test_many_normals():
    values, _ = traced.draw_normal(traced.seeded(3), (1_000_003,))
    assert_same_bits(values, Generator(3).randn(1_000_003))


@pytest.mark.thorough
def test_seeds_in_vmap_and_draws_in_scan():
    def run(seed):
        def step(state, _):
            order, state = traced.draw_permutation(state, 50)
            noise, state = traced.draw_normal(state, (20,))
            return state, (order, noise)

        return jax.lax.scan(step, traced.seeded(seed), None, length=4)[1]

    orders, noises = jax.jit(jax.vmap(run))(jnp.arange(5))
    for seed in range(5):
        host = Generator(seed)
        for step in range(4):
            assert_same_bits(orders[seed, step], host.randperm(50, "int32"))
            assert_same_bits(noises[seed, step], host.randn(20))


@pytest.mark.thorough
def test_nothing_changes_where_float64_is_on(x64):
    test_the_host_at_every_size(17)
    test_integers_around_the_threshold(-(2**27), 2**28 + 12345)


def test_a_generator_holds_the_state():
    def run(seed):
        g = traced.Generator(seed)
        return (
            g.rand(2, 3),
            g.uniform(4, -1.0, 2.0),
            g.randn(5, 4),
            g.normal(1.0, 2.0, (16,), "bfloat16"),
            g.randint(-2, 9, 3),
            g.randperm(10),
        )

    host = Generator(6)
    expected = (
        host.rand(2, 3),
        host.uniform(4, -1.0, 2.0),
        host.randn(5, 4),
        host.normal(1.0, 2.0, 16, "bfloat16"),
        host.randint(-2, 9, 3, "int32"),
        host.randperm(10, "int32"),
    )
    for actual, value in zip(jax.jit(run)(6), expected, strict=True):
        assert_same_bits(actual, value)


def test_to_and_from_the_host():
    host = Generator(9)
    host.rand(1000)
    state = traced.from_host(host.state)
    values, state = traced.draw_uniform(state, (5,))
    assert_same_bits(values, host.rand(5))
    resumed = Generator()
    resumed.state = traced.to_host(state, seed=9)
    np.testing.assert_array_equal(resumed.get_state(), host.get_state())


def test_no_elements_move_nothing():
    state = traced.seeded(0)
    values, after = traced.draw_uniform(state, (0, 3))
    assert values.shape == (0, 3)
    assert int(after.position) == 0
    assert traced.draw_permutation(state, 0)[0].shape == (0,)


def test_refusals():
    state, host = traced.seeded(0), Generator()
    assert message_of(RuntimeError, lambda: traced.draw_uniform(state, (3,), 2.0, 1.0)) == message_of(
        RuntimeError, lambda: host.uniform(3, 2.0, 1.0)
    )
    assert message_of(RuntimeError, lambda: traced.draw_integers(state, 3, 3, (3,))) == message_of(
        RuntimeError, lambda: host.randint(3, 3, 3)
    )
    assert message_of(RuntimeError, lambda: traced.draw_normal(state, (16,), 0.0, -1.0)) == message_of(
        RuntimeError, lambda: host.normal(0, -1, 16)
    )
    for draw, message in (
        (lambda: traced.draw_normal(state, (15,)), "on the host"),
        (lambda: traced.draw_normal(state, (16,), 0.0, 1.0, "float64"), "on the host"),
        (lambda: traced.draw_integers(state, 0, 2**32, (3,)), "only int32"),
        (lambda: traced.draw_permutation(state, -1), "but got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            draw()
