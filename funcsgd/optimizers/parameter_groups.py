"""Parameter groups, given the way torch's optimizers take them."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

_TORCH_NAMES = {"lr": "learning_rate"}


class ParameterGroups(NamedTuple):
    """The result of `from_groups`.

    Attributes:
        params: the parameters of all groups by name, in torch's order; unnamed ones are called "0", "1", ...
        tx: the rule for that dict: that of the only group, or an ``optax.partition`` of one for each group, labelled
            0, 1, ...
        groups: the names in each group.
    """

    params: dict[str, jax.Array]
    tx: optax.GradientTransformationExtraArgs
    groups: tuple[tuple[str, ...], ...]


def from_groups(
    rule: Callable[..., optax.GradientTransformationExtraArgs], params: Iterable[Any], lr: Any = 1e-3, **defaults: Any
) -> ParameterGroups:
    """Build a rule from torch's ``params`` argument: arrays, ``(name, array)`` pairs, or dicts with overrides.

    Args:
        rule: `sgd`, `adam`, `adamw`, or any function that takes a ``learning_rate`` and other hyperparameters by name.
        params: an iterable of floating arrays, of ``(name, array)`` pairs, or of dicts ``{"params": ..., "lr": ...}``
            whose other entries override the defaults for their group, under torch's or under the rule's names.
        lr: learning rate of the groups that do not override it; torch's default.
        **defaults: the other arguments of the rule, for the groups that do not override them.

    Returns:
        `ParameterGroups`.

    Raises:
        TypeError: for a bare array, an unordered collection, a parameter that is no array, an unknown option.
        ValueError: for nothing to optimise, a parameter in two groups, names on some parameters only, and whatever
            the rule refuses.

    Warns:
        UserWarning: a parameter twice in one group. torch would step it twice; here it is stepped once.

    Exactness: bitwise where the rule is.

    Source: ``torch/optim/optimizer.py``, ``Optimizer.__init__`` and ``add_param_group``, torch 2.13.0.

    Differs from torch in: (1) what a group overrides is checked like a default; (2) duplicates are stepped once.

    Example:
        >>> import jax.numpy as jnp
        >>> from funcsgd import sgd
        >>> w, b = jnp.ones(2), jnp.zeros(2)
        >>> made = from_groups(sgd, [{"params": [("w", w)]}, {"params": [("b", b)], "lr": 1.0}], lr=0.5, momentum=0.9)
        >>> updates, _ = made.tx.update({"w": w, "b": w}, made.tx.init(made.params), made.params)
        >>> updates["w"], updates["b"]
        (Array([-0.5, -0.5], dtype=float32), Array([-1., -1.], dtype=float32))
    """
    if _is_array(params) or isinstance(params, str):
        raise TypeError(
            "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
            f"{type(params).__name__}; wrap a single array in a list"
        )
    defaults = _in_our_words(rule, {"lr": lr, **defaults})
    rule(**defaults)  # torch checks its defaults first, whether a group uses them or not
    given: list[Any] = list(params.items()) if isinstance(params, Mapping) else list(params)
    if not given:
        raise ValueError("optimizer got an empty parameter list")
    dicts = given if isinstance(given[0], dict) else [{"params": given}]

    named: dict[str, jax.Array] = {}
    owners: dict[int, int] = {}
    groups: list[tuple[str, ...]] = []
    rules: dict[int, optax.GradientTransformationExtraArgs] = {}
    with_names = False
    for index, group in enumerate(dicts):
        members = _members(group["params"])
        has_names = [name is not None for name, _ in members]
        if any(has_names) and not all(has_names):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        if index == 0:
            with_names = has_names[0]
        elif has_names[0] != with_names:
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group "
                f"{'with' if has_names[0] else 'without'} names to the optimizer"
            )
        seen = [id(array) for _, array in members]
        if len(set(seen)) < len(seen):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; it is stepped once, where torch "
                "would step it twice",
                stacklevel=2,
            )
        if any(owners.get(identity, index) != index for identity in seen):
            raise ValueError("some parameters appear in more than one parameter group")
        names = []
        for name, array in members:
            if id(array) in owners:
                continue  # a duplicate within the group
            owners[id(array)] = index
            label = str(len(named)) if name is None else name
            if label in named:
                raise ValueError(f"two parameters are called {label!r}: names must be unique")
            named[label] = array
            names.append(label)
        groups.append(tuple(names))
        overrides = _in_our_words(rule, {key: value for key, value in group.items() if key != "params"})
        rules[index] = rule(**{**defaults, **overrides})

    arrays = {name: jnp.asarray(array) for name, array in named.items()}
    if len(rules) == 1:
        return ParameterGroups(arrays, rules[0], tuple(groups))
    labels = {name: index for index, names in enumerate(groups) for name in names}
    return ParameterGroups(arrays, optax.partition(rules, labels), tuple(groups))


def _members(params: Any) -> list[tuple[str | None, Any]]:
    if isinstance(params, set | frozenset):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
            "will change between runs. Please use a list instead."
        )
    items = [params] if _is_array(params) else list(params)
    members = [item if isinstance(item, tuple) else (None, item) for item in items]
    for _, array in members:
        if not _is_array(array):
            raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(array).__name__}")
    if not members:
        raise ValueError("optimizer got a parameter group without parameters")
    return members


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array | np.ndarray)


def _in_our_words(rule: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    options = {_TORCH_NAMES.get(key, key): value for key, value in options.items()}
    known = tuple(inspect.signature(rule).parameters)
    for key in options:
        if key not in known:
            raise TypeError(f"unknown option {key!r}: {rule.__name__} takes {', '.join(known)}")
    return options
