import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.support.against_torch import SEEDS, assert_same_draw, message_of
from torch_bridge import data, random


def test_seeds():
    for seed in SEEDS:
        assert random.Generator(seed).initial_seed() == torch.Generator().manual_seed(seed).initial_seed()
    assert random.Generator().initial_seed() == torch.Generator().initial_seed()


def test_a_seed_from_the_operating_system():
    g = random.Generator(0)
    first, second = g.seed(), g.seed()
    assert first != second
    assert g.initial_seed() == second < 2**53
    np.testing.assert_array_equal(g.rand(3), random.Generator(second).rand(3))


def test_methods_return_the_generator_as_in_torch():
    g = random.Generator()
    assert g.manual_seed(3) is g
    assert g.set_state(g.get_state()) is g


def test_a_clone_goes_its_own_way():
    g = random.Generator(1)
    clone = g.clone_state()
    np.testing.assert_array_equal(g.rand(4), clone.rand(4))
    g.rand(1)
    assert g.state.position != clone.state.position
    assert repr(clone) == "Generator(seed=1, position=4)"


def test_the_default_generator():
    with random.fork_rng():
        assert random.manual_seed(5.7) is random.default_generator  # torch.manual_seed takes int() of it
        torch.manual_seed(5.7)
        assert random.initial_seed() == torch.initial_seed() == 5
        np.testing.assert_array_equal(random.default_generator.randn(20), torch.randn(20).numpy())
        np.testing.assert_array_equal(random.get_rng_state(), torch.get_rng_state().numpy())
        state = random.get_rng_state()
        values = random.default_generator.rand(3)
        random.set_rng_state(state)
        np.testing.assert_array_equal(random.default_generator.rand(3), values)
        assert random.seed() == random.initial_seed()


def test_fork_gives_the_state_back_also_after_an_error():
    before = random.default_generator.state

    def fail():
        with random.fork_rng():
            random.manual_seed(1)
            raise KeyError("inside")

    assert message_of(KeyError, fail) == "'inside'"
    assert random.default_generator.state is before
    with random.fork_rng(), random.fork_rng(enabled=False):
        random.manual_seed(9)
    assert random.default_generator.state is before


def test_what_an_import_does_not_bring_in():
    modules = "torch_bridge.random, torch_bridge.data, torch_bridge.init"
    code = f"import sys, {modules}; print([m for m in ('torch', 'flax', 'sklearn') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "fault",
    [
        lambda g: np.nextafter(g.rand(5), np.float32(1)),  # values an ulp off
        lambda g: (g.rand(5), g.random())[0],  # right values, a stream that went on
        lambda g: (g.rand(5), g.randn(1), setattr(g, "state", random.from_bytes(g.get_state())))[0],  # a cached normal
        lambda g: g.rand(5).astype(np.float64),
        lambda g: g.rand(5, 1),
    ],
)
def test_the_comparison_with_torch_finds_faults(fault):
    assert_same_draw(lambda: torch.rand(5), lambda g: g.rand(5), seeds=(0,))
    with pytest.raises(AssertionError):
        assert_same_draw(lambda: torch.rand(5), fault, seeds=(0,))


def test_torchs_names_draw_from_the_default_stream():
    random.manual_seed(3)
    torch.manual_seed(3)
    np.testing.assert_array_equal(random.rand(2, 3), torch.rand(2, 3).numpy())
    np.testing.assert_array_equal(random.randn(20), torch.randn(20).numpy())
    np.testing.assert_array_equal(random.randint(0, 9, (4,)), torch.randint(0, 9, (4,)).numpy())
    np.testing.assert_array_equal(random.randperm(7), torch.randperm(7).numpy())
    np.testing.assert_array_equal(random.normal(1.0, 2.0, (3,)), torch.normal(1.0, 2.0, (3,)).numpy())
    p = np.float32([0.1, 0.5, 0.9])
    np.testing.assert_array_equal(random.bernoulli(p), torch.bernoulli(torch.tensor(p)).numpy())
    np.testing.assert_array_equal(random.multinomial(p, 2), torch.multinomial(torch.tensor(p), 2).numpy())


@pytest.mark.parametrize(
    "make",
    [
        lambda g: data.DataLoader(range(4), generator=g),
        lambda g: data.RandomSampler(range(4), generator=g),
        lambda g: data.SubsetRandomSampler([1, 2], generator=g),
        lambda g: data.WeightedRandomSampler([1.0, 2.0], 2, generator=g),
        lambda g: data.random_split(range(5), [3, 2], generator=g),
    ],
)
@pytest.mark.parametrize("generator", [torch.Generator(), np.random.default_rng(0), 7])
def test_a_generator_of_another_library_is_refused_at_construction(make, generator):
    with pytest.raises(TypeError, match=r"draws from a torch_bridge.random.Generator, but got a .*(Generator|int)"):
        make(generator)
