import numpy as np
import pytest
import torch

from torch_bridge.random import Generator, from_bytes

ACTS = {
    "fresh": (lambda: None, lambda g: None),
    "one": (lambda: torch.rand(1), lambda g: g.rand(1)),
    "end of a block": (lambda: torch.rand(624), lambda g: g.rand(624)),
    "cached normal": (lambda: torch.randn(3), lambda g: g.randn(3)),
    "many": (lambda: torch.randn(10_007), lambda g: g.randn(10_007)),
}


@pytest.mark.parametrize("act", ACTS)
def test_bytes_go_both_ways(act):
    torch_act, our_act = ACTS[act]
    theirs, ours = torch.manual_seed(-77), Generator(-77)
    torch_act()
    our_act(ours)
    np.testing.assert_array_equal(ours.get_state(), theirs.get_state().numpy())

    resumed = Generator().set_state(theirs.get_state())  # a tensor
    again = Generator().set_state(ours.get_state().tobytes())
    foreign = torch.Generator()
    foreign.set_state(torch.from_numpy(ours.get_state()))
    expected = torch.cat([torch.randn(4), torch.rand(700)]).numpy()
    for generator in (resumed, again):
        assert generator.initial_seed() == 2**64 - 77
        np.testing.assert_array_equal(np.concatenate([generator.randn(4), generator.rand(700)]), expected)
    theirs_resumed = torch.cat([torch.randn(4, generator=foreign), torch.rand(700, generator=foreign)])
    np.testing.assert_array_equal(theirs_resumed.numpy(), expected)


@pytest.mark.parametrize("size", [5056, 5])
def test_refused_states_as_torch_refuses_them(size):
    with pytest.raises(RuntimeError) as theirs:
        torch.Generator().set_state(torch.zeros(size, dtype=torch.uint8))
    with pytest.raises(RuntimeError) as ours:
        from_bytes(np.zeros(size, np.uint8))
    assert str(ours.value) == str(theirs.value).split("\n")[0]


def test_only_bytes():
    with pytest.raises(TypeError, match="RNG state must be"):
        from_bytes(np.zeros(5056))
