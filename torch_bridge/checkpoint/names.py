"""Names: of tensors without their wrappers' prefixes, and of the parameters that an optimizer knows by number."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_ANYWHERE = ("_orig_mod", "_fsdp_wrapped_module")
_STATISTICS = ("running_mean", "running_var")


def bare_names(names: Sequence[str]) -> dict[str, str]:
    """Return the names in a state dict without the prefixes of torch.compile, FSDP, DataParallel and DDP.

    Args:
        names: all of them; ``module.`` is a wrapper's prefix only where each begins with it.

    Returns:
        Bare name -> name, in the order of the names.

    Raises:
        ValueError: two names are one without their prefixes.
    """
    bare: dict[str, str] = {}
    cut = [".".join(part for part in name.split(".") if part not in _ANYWHERE) for name in names]
    while cut and all(name.startswith("module.") for name in cut):
        cut = [name.removeprefix("module.") for name in cut]
    for short, name in zip(cut, names, strict=True):
        if short in bare:
            raise ValueError(f"{bare[short]!r} and {name!r} are one name without the prefixes of wrappers, {short!r}")
        bare[short] = name
    return bare


def group_names(
    groups: Sequence[Mapping[str, Any]], model: Mapping[str, Any], given: Sequence[Any] | None = None
) -> list[list[str]]:
    """Return the names of the parameters in each group of an optimizer's state dict.

    Args:
        groups: its ``param_groups``.
        model: bare name -> tensor, in the order of the model's state dict.
        given: the names, in the order in which the script gave the parameters to the optimizer: a list, or one for
            each group.

    Returns:
        The given names; else those that the file has (``param_names``, of an optimizer made with named parameters);
        else, for a single group with as many parameters as the model has, those of the model in its order.

    Raises:
        ValueError: they cannot be known, or do not fit.
    """
    counts = [len(group["params"]) for group in groups]
    own = [group.get("param_names") for group in groups]
    if given is not None:
        rows = [list(row) for row in given] if all(not isinstance(row, str) for row in given) else _cut(given, counts)
    elif all(isinstance(row, list) and all(isinstance(name, str) for name in row) for row in own):
        bare = {name: short for short, name in bare_names([name for row in own for name in row]).items()}  # type: ignore[union-attr]
        rows = [[bare[name] for name in row] for row in own]  # type: ignore[union-attr]
    elif len(groups) > 1:
        raise ValueError(
            f"the optimizer has {len(groups)} parameter groups and knows its parameters by number alone: give "
            "names=[[...], [...]], the names of each group in the order in which the script gave them"
        )
    else:
        rows = [parameter_names(model, counts[0])]
    if [len(row) for row in rows] != counts:
        raise ValueError(f"names has {[len(row) for row in rows]} names in its groups, the optimizer {counts}")
    flat = [name for row in rows for name in row]
    if missing := [name for name in flat if name not in model]:
        raise ValueError(f"the model has no {missing[0]!r}; it has {', '.join(list(model)[:20])}")
    if len(set(flat)) < len(flat):
        raise ValueError("a name stands twice among the optimizer's parameters")
    return rows


def parameter_names(model: Mapping[str, Any], count: int | None = None) -> list[str]:
    """Return which tensors of a state dict are parameters: each once, and no buffers.

    Args:
        model: name -> array.
        count: how many there must be; None takes all but the running statistics.

    Raises:
        ValueError: there are not so many.
    """
    seen: set[int] = set()
    floating = []
    for name, array in model.items():
        if array.dtype.kind in "fcV" and id(array) not in seen:  # V: bfloat16; tied tensors are one array
            seen.add(id(array))
            floating.append(name)
    trained = [name for name in floating if name.rpartition(".")[2] not in _STATISTICS]
    for names in (trained, floating):
        if count is None or len(names) == count:
            return names
    raise ValueError(
        f"the optimizer has {count} parameters, and the model {len(trained)} tensors that may be some: give "
        "names=[...], in the order in which the script gave them to the optimizer"
    )


def check_shapes(state: Mapping[int, Mapping[str, Any]], names: Sequence[str], model: Mapping[str, Any]) -> None:
    """Make sure that what an optimizer holds has the shapes of the parameters that it is thought to be for.

    Raises:
        ValueError: it has not.
    """
    for number, held in state.items():
        if type(number) is not int or not 0 <= number < len(names):
            raise ValueError(f"the optimizer has a state of parameter {number!r}, but {len(names)} parameters")
        for key, value in held.items():
            if np.ndim(value) and np.shape(value) != model[names[number]].shape:
                raise ValueError(
                    f"the optimizer's {key} number {number} has the shape {np.shape(value)}, and {names[number]!r} "
                    f"{model[names[number]].shape}: it is of another parameter; give names=[...], in the order in "
                    "which the script gave them to the optimizer"
                )


def _cut(names: Sequence[str], counts: Sequence[int]) -> list[list[str]]:
    rest = list(names)
    if len(rest) != sum(counts):
        raise ValueError(f"names has {len(rest)} names, the optimizer {sum(counts)} parameters")
    return [[rest.pop(0) for _ in range(count)] for count in counts]
