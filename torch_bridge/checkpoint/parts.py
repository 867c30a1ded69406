"""What the entries of a training script's checkpoint are, found by their form, whatever the script calls them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

PARTS = ("model", "optimizer", "scheduler", "average", "rng", "epoch", "step")
"""What is looked for; of the last two, which are plain numbers, the names count."""
_USUAL = {
    "model": ("model", "state_dict", "model_state_dict", "model_state", "net", "network", "module"),
    "optimizer": ("optimizer", "optimizer_state_dict"),
    "scheduler": ("scheduler", "lr_scheduler", "scheduler_state_dict"),
    "rng": ("rng", "rng_state", "torch_rng_state"),
    "epoch": ("epoch",),
    "step": ("step", "global_step", "iteration", "iter"),
}
"""The names that decide where several entries have the form."""


def found_parts(content: Any, keys: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Find the parts of a checkpoint.

    Args:
        content: the tree of a file.
        keys: part -> the key under which it is, a path of keys with slashes, or None for a part to be left out; the
            others are looked for.

    Returns:
        Part -> key; the key ``""`` is the whole content.

    Raises:
        ValueError: no such part or key, or an entry that has not its form; or several entries have the form of a part.
    """
    given = dict(keys or {})
    if odd := [part for part in given if part not in PARTS]:
        raise ValueError(f"keys={given} names a part {odd[0]!r}; the parts are {', '.join(PARTS)}")
    places: dict[str, str] = {}
    for part, key in given.items():
        if key is None:
            continue
        entry = entry_at(content, key)
        if not _is(part, entry) and not (part == "average" and _is_model(entry)):  # a script's own average has no count
            raise ValueError(f"the entry {key!r} is no {part}: {_FORMS[part][1]}")
        places[part] = key
    for part in PARTS:
        if part in given:
            continue
        if part not in ("epoch", "step") and _is(part, content):
            return {**places, part: ""}
        fits = [key for key, value in entries_of(content).items() if isinstance(key, str) and key and _is(part, value)]
        usual = [key for key in _USUAL.get(part, ()) if key in fits]
        if part in ("epoch", "step"):
            fits = usual
        elif len(fits) > 1 and not usual:
            raise ValueError(
                f"the file has several entries that may be its {part}, {', '.join(fits)}: choose by "
                f"keys={{{part!r}: {fits[0]!r}}}, or None for none"
            )
        if fits:
            places[part] = (usual or fits)[0]
    return places


def entries_of(content: Any) -> dict[Any, Any]:
    """Return the entries of a dict by key, of a list or a tuple by number as text, and of anything else none."""
    if isinstance(content, list | tuple):
        return {str(number): value for number, value in enumerate(content)}
    return content if isinstance(content, dict) else {}


def entry_at(content: Any, key: str) -> Any:
    """Return the entry under a key or a path of keys.

    Raises:
        ValueError: there is none.
    """
    node = content
    for part in [key] if isinstance(content, dict) and key in content else [each for each in key.split("/") if each]:
        entries = entries_of(node)
        if part not in entries:
            there = ", ".join(map(str, list(entries)[:20])) or f"a {type(node).__name__}"
            raise ValueError(f"the file has no entry {key!r}; there are {there}")
        node = entries[part]
    return node


def with_entry(content: Any, key: str, value: Any) -> Any:
    """Return the content with another entry under a key or a path of keys."""
    if not key:
        return value
    entries = entries_of(content)
    first, _, rest = (key, "", "") if key in entries else key.partition("/")
    entries = {**entries, first: with_entry(entries[first], rest, value)}
    return entries if isinstance(content, dict) else type(content)(entries.values())


def one_of(entry: Any) -> Any:
    """Return the only state dict in an entry that may be a list of one, as Lightning writes it."""
    return entry[0] if isinstance(entry, list) and len(entry) == 1 else entry


def _is(part: str, value: Any) -> bool:
    return _FORMS[part][0](value)


def _is_model(value: Any) -> bool:
    named = isinstance(value, dict) and all(isinstance(key, str) for key in value)
    return named and bool(value) and all(isinstance(each, np.ndarray) for each in value.values()) \
        and "n_averaged" not in value  # fmt: skip


def _is_optimizer(value: Any) -> bool:
    value = one_of(value)
    if not isinstance(value, dict) or not {"state", "param_groups"} <= set(value):
        return False
    groups, state = value["param_groups"], value["state"]
    return (
        isinstance(groups, list)
        and bool(groups)
        and all(isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups)
        and all(type(number) is int for group in groups for number in group["params"])
        and isinstance(state, dict)
        and all(isinstance(held, dict) for held in state.values())
    )


def _is_scheduler(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_scheduler, value))
    return isinstance(value, dict) and (type(value.get("last_epoch")) is int or "_schedulers" in value)


def _is_average(value: Any) -> bool:
    names = set(value) if isinstance(value, dict) else set()
    rest = {key: each for key, each in value.items() if key != "n_averaged"} if names else {}
    return "n_averaged" in names and np.ndim(value["n_averaged"]) == 0 and _is_model(rest)


def _is_rng(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.shape == (5056,)


def _is_number(value: Any) -> bool:
    return type(value) is int or (isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind == "i")


_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_is_model, "a dict of tensors by name is one"),
    "optimizer": (_is_optimizer, "a dict with state and param_groups is one"),
    "scheduler": (_is_scheduler, "a dict with last_epoch is one, or a list of such"),
    "average": (_is_average, "a dict of tensors with n_averaged, of an AveragedModel, is one"),
    "rng": (_is_rng, "the 5056 bytes of torch.get_rng_state() are one"),
    "epoch": (_is_number, "a whole number is one"),
    "step": (_is_number, "a whole number is one"),
}
