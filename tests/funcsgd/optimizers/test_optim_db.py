"""torch's own database of optimizers: every rule in its valid configurations, and what it has to refuse."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

import funcsgd
from tests.support import drives
from tests.support.adam_runs import RULES as ADAM_RULES
from tests.support.torch_runs import IMPLEMENTATIONS, by_step, differing_bits, random_run, torch_run
from torch_bridge.square_root import torch_root

RULES = {"sgd": (funcsgd.sgd, torch.optim.SGD), **ADAM_RULES}
INFO = {name: next(info for info in optim_db if info.optim_cls is theirs) for name, (_, theirs) in RULES.items()}
CONFIGURATIONS = [(name, entry.desc, entry.kwargs) for name in INFO for entry in INFO[name].optim_inputs_func("cpu")]
ERRORS = [(name, error) for name in INFO for error in INFO[name].optim_error_inputs_func("cpu", torch.float32)]
# An array is a number here, whatever the other beta is, and there is no foreach.
ABOUT_TENSORS = ("not supported for capturable=False and foreach=True", "betas must be either both floats or both")


def in_jax(value, made):
    """The same structure with an array for each tensor: one array for one tensor, however often it is there."""
    if isinstance(value, torch.Tensor):
        return made.setdefault(id(value), jnp.asarray(value.detach().numpy()))
    if isinstance(value, dict):
        return {key: in_jax(item, made) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(in_jax(item, made) for item in value)
    return value


def test_its_size():
    assert [sum(name == rule for rule, _, _ in CONFIGURATIONS) for name in RULES] == [9, 5, 5]
    assert [sum(name == rule for rule, _ in ERRORS) for name in RULES] == [7, 12, 12]


@pytest.mark.parametrize(("rule", "desc", "options"), CONFIGURATIONS, ids=lambda x: x if isinstance(x, str) else "")
def test_no_bit_differs(rule, desc, options):
    ours, theirs = RULES[rule]
    options = {"lr": 1e-3, **options}
    params, gradients = random_run(np.float32, ((7,), (64, 33)), steps=50)
    root = {} if rule == "sgd" else {"sqrt": torch_root()}
    renamed = {key: value for key, value in options.items() if key != "lr"}
    rate = jnp.asarray(options["lr"].numpy()) if isinstance(options["lr"], torch.Tensor) else options["lr"]
    after = drives.by_scan(ours(rate, **renamed, **root), params, gradients)
    for how in IMPLEMENTATIONS.values():
        assert differing_bits(after, torch_run(params, by_step(gradients), rule=theirs, **how, **options)) == 0


@pytest.mark.parametrize(("rule", "error"), ERRORS, ids=lambda x: x if isinstance(x, str) else "")
def test_what_torch_refuses_is_refused(rule, error):
    ours, theirs = RULES[rule]
    assert error.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR
    given = error.optimizer_error_input
    params = [torch.zeros(1)] if given.params is None else given.params
    in_ours, kwargs = in_jax((params, given.kwargs), {})  # before torch, which writes into the dicts it is given
    expect = pytest.warns if issubclass(error.error_type, Warning) else pytest.raises
    with expect(error.error_type, match=error.error_regex):
        theirs(params, **given.kwargs)
    if any(words in error.error_regex.replace("\\", "") for words in ABOUT_TENSORS):
        kwargs.pop("foreach", None)
        assert funcsgd.from_groups(ours, in_ours, **kwargs).groups == (("0",),)
    else:
        with expect(error.error_type, match=error.error_regex):
            funcsgd.from_groups(ours, in_ours, **kwargs)


@pytest.mark.parametrize("rule", RULES)
def test_groups_with_their_own_options(rule):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, ((7,), (64, 33), (5,)), steps=20)
    root = {} if rule == "sgd" else {"sqrt": torch_root()}

    def groups(a, b, c):
        return [{"params": [a, c]}, {"params": [b], "lr": 0.3, "weight_decay": 0.2, "maximize": True}]

    made = funcsgd.from_groups(ours, groups(*map(jnp.asarray, params)), lr=0.01, **root)
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = theirs(groups(*tensors), lr=0.01)
    in_order = [0, 2, 1]
    after = drives.by_scan(
        made.tx,
        dict(zip(made.params, [params[i] for i in in_order], strict=True)),
        dict(zip(made.params, [gradients[i] for i in in_order], strict=True)),
    )
    for of_step in by_step(gradients):
        for tensor, g in zip(tensors, of_step, strict=True):
            tensor.grad = torch.tensor(g)
        optimizer.step()
    assert differing_bits([x[-1] for x in after.values()], [tensors[i].detach().numpy() for i in in_order]) == 0
    rates = funcsgd.get_learning_rate(made.tx.init(made.params))
    assert [float(rate) for rate in rates] == [np.float32(0.01), np.float32(0.3)]
