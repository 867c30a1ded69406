import numpy as np
import pytest
import torch
from torch.nn import init as torch_init

from torch_bridge import init
from torch_bridge.random import Generator, default_generator, fork_rng, manual_seed

NONLINEARITIES = ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu")


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_gains(nonlinearity):
    assert init.calculate_gain(nonlinearity) == torch_init.calculate_gain(nonlinearity)
    assert init.calculate_gain(nonlinearity, 0.2) == torch_init.calculate_gain(nonlinearity, 0.2)


@pytest.mark.parametrize("arguments", [("swish",), ("leaky_relu", True), ("leaky_relu", "a")])
def test_refused_gains(arguments):
    with pytest.raises(ValueError) as theirs:  # noqa: PT011 (the message is compared)
        torch_init.calculate_gain(*arguments)
    with pytest.raises(ValueError) as ours:  # noqa: PT011
        init.calculate_gain(*arguments)
    assert str(ours.value) == str(theirs.value)


RULES = [
    (torch_init.xavier_uniform_, init.xavier_uniform, {"gain": 1.7}),
    (torch_init.xavier_normal_, init.xavier_normal, {"gain": 0.3}),
    *(
        (torch_rule, our_rule, {"a": 0.1, "mode": mode, "nonlinearity": nonlinearity})
        for torch_rule, our_rule in (
            (torch_init.kaiming_uniform_, init.kaiming_uniform),
            (torch_init.kaiming_normal_, init.kaiming_normal),
        )
        for mode in ("fan_in", "fan_out")
        for nonlinearity in NONLINEARITIES
    ),
]


@pytest.mark.parametrize(("torch_rule", "our_rule", "keywords"), RULES)
def test_rules(torch_rule, our_rule, keywords):
    with fork_rng():
        for shape in ((3, 4), (17, 9), (8, 3, 5, 5)):
            for dtype in (torch.float32, torch.float64):
                torch.manual_seed(5)
                manual_seed(5)
                theirs = torch_rule(torch.empty(shape, dtype=dtype), **keywords).numpy()
                ours = our_rule(shape, **keywords, dtype=theirs.dtype)
                np.testing.assert_array_equal(ours, theirs, strict=True)
                np.testing.assert_array_equal(default_generator.get_state(), torch.get_rng_state().numpy())


def test_a_generator_of_ones_own():
    theirs = torch_init.kaiming_normal_(torch.empty(5, 6), generator=torch.Generator().manual_seed(3))
    np.testing.assert_array_equal(init.kaiming_normal((5, 6), generator=Generator(3)), theirs.numpy())


@pytest.mark.parametrize("rule", [init.kaiming_uniform, init.kaiming_normal])
def test_edges(rule):
    with pytest.warns(UserWarning, match="zero-element"):
        assert rule((0, 3)).shape == (0, 3)
    with pytest.raises(ValueError, match=r"Mode fan not supported, please use one of \['fan_in', 'fan_out'\]"):
        rule((2, 3), mode="fan")
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        rule((2,))
