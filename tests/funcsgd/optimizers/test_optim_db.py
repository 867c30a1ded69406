"""torch's own database of optimizers: every rule in its valid configurations, and what it has to refuse."""

import contextlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

import funcsgd
from funcsgd.arithmetic import square_root
from tests.support import drives
from tests.support.adam_runs import root_in_torch
from tests.support.torch_runs import IMPLEMENTATIONS, by_step, differing_bits, random_run, torch_run
from torch_bridge.square_root import torch_root

# The next optimizer is a row.
RULES = {
    torch.optim.SGD: funcsgd.sgd,
    torch.optim.Adam: funcsgd.adam,
    torch.optim.AdamW: funcsgd.adamw,
    torch.optim.RMSprop: funcsgd.rmsprop,
}
INFO = {info.optim_cls: info for info in optim_db if info.optim_cls in RULES}
every_rule = pytest.mark.parametrize("theirs", RULES, ids=lambda theirs: theirs.__name__)


def listed(entries, thorough=lambda entry: False):
    """(torch's class, entry) for each class and each of its entries, as cases of a test."""
    return [
        pytest.param(
            theirs,
            entry,
            id=f"{theirs.__name__}-{desc(entry)}",
            marks=pytest.mark.thorough if thorough(entry) else (),
        )
        for theirs in RULES
        for entry in entries(INFO[theirs])
    ]


def desc(entry):
    return entry.desc if hasattr(entry, "desc") else entry.optimizer_error_input.desc


CONFIGURATIONS = listed(lambda info: info.optim_inputs_func("cpu"))
ON_A_GPU = listed(
    lambda info: [x for x in info.optim_inputs_func("cuda") if "capturable" in x.kwargs],
    thorough=lambda x: not ("betas" in x.kwargs and x.kwargs["amsgrad"]),
)
ERRORS = listed(lambda info: info.optim_error_inputs_func("cpu", torch.float32))
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


def built(theirs, options, root):
    """Our rule with torch's options, and the square root if it takes one."""
    ours = RULES[theirs]
    renamed = {"learning_rate" if key == "lr" else key: value for key, value in in_jax(options, {}).items()}
    return ours(**renamed, **({"sqrt": root} if "sqrt" in inspect.signature(ours).parameters else {}))


@every_rule
def test_the_database_has_every_rule(theirs):
    for cases, least in ((CONFIGURATIONS, 5), (ERRORS, 7)):
        assert sum(case.values[0] is theirs for case in cases) >= least


def assert_no_bit_differs(theirs, options, dtype="float32", steps=50):
    options = {"lr": 1e-3, **options}
    params, gradients = random_run(np.dtype(dtype), ((7,), (64, 33)), steps=steps)
    root = torch_root() if dtype == "float32" else square_root("correct")
    with jax.enable_x64(dtype == "float64"):
        after = drives.by_scan(built(theirs, options, root), params, gradients)
    with contextlib.nullcontext() if dtype == "float32" else root_in_torch(root):
        for how in IMPLEMENTATIONS.values():
            assert differing_bits(after, torch_run(params, by_step(gradients), rule=theirs, **how, **options)) == 0


@pytest.mark.parametrize(("theirs", "configuration"), CONFIGURATIONS)
def test_no_bit_differs(theirs, configuration):
    assert_no_bit_differs(theirs, configuration.kwargs)


@pytest.mark.thorough
@pytest.mark.parametrize(("theirs", "configuration"), CONFIGURATIONS)
def test_no_bit_differs_in_float64(theirs, configuration):
    """Where torch's root is the correctly rounded one; `tests.funcsgd.optimizers.test_adam_classes` has the other."""
    assert_no_bit_differs(theirs, configuration.kwargs, "float64")


@pytest.mark.parametrize(("theirs", "configuration"), ON_A_GPU)
def test_tensors_as_hyperparameters_count_as_numbers(theirs, configuration):
    """What torch lists for GPUs, apart from their arithmetic: tensors of one element, of any shape."""
    given = {key: value for key, value in configuration.kwargs.items() if key != "capturable"}
    params, gradients = random_run(np.float32, ((7,),), steps=5)
    numbers = jax.tree.map(lambda x: x.item() if isinstance(x, torch.Tensor) else x, given)
    after = drives.by_scan(built(theirs, {"lr": 1e-3, **given}, torch_root()), params, gradients)
    expected = torch_run(params, by_step(gradients), rule=theirs, **{"lr": 1e-3, **numbers})
    assert differing_bits(after, expected) == 0


@pytest.mark.parametrize(("theirs", "error"), ERRORS)
def test_what_torch_refuses_is_refused(theirs, error):
    ours = RULES[theirs]
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


@every_rule
def test_groups_with_their_own_options(theirs):
    ours = RULES[theirs]
    params, gradients = random_run(np.float32, ((7,), (64, 33), (5,)), steps=20)
    root = {"sqrt": torch_root()} if "sqrt" in inspect.signature(ours).parameters else {}

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
