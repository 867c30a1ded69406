"""The header of a trace, as far as others rely on it: which entries are of which form."""

from collections.abc import Callable, Mapping
from typing import Any

from torch_bridge.trace.frames import DamagedTraceError


def check_header(static: Mapping[str, Any]) -> None:
    """Require that the entries of a header that are read here have the form in which they are written.

    Args:
        static: ``Trace.static``; other entries may be anything.

    Raises:
        DamagedTraceError: one has another form; the message names it.
    """
    for name, (is_right, form) in _FORMS.items():
        if name in static and not is_right(static[name]):
            raise DamagedTraceError(f"{name!r} in its header is not {form}")


def _listed(each: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(each, value))


def _mapped(each: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(each, value.values()))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_group(value: Any) -> bool:
    return (
        _is_dict(value)
        and _listed(_is_text)(value.get("names"))
        and _is_dict(value.get("options"))
        and _listed(_is_dict)(value.get("schedulers", []))
    )


def _is_recipe(value: Any) -> bool:
    return (
        _is_dict(value)
        and _is_text(value.get("optimizer"))
        and _listed(_is_group)(value.get("groups"))
        and type(value.get("steps_per_epoch", 1)) is int
        and value.get("steps_per_epoch", 1) > 0
    )


def _is_twins(value: Any) -> bool:
    return (
        _is_dict(value)
        and _listed(_is_size)(value.get("steps"))
        and _listed(_is_text)(value.get("layers"))
        and _mapped(_is_text)(value.get("reasons"))
    )


_NAMES, _TEXTS = (_listed(_is_text), "a list of names"), (_mapped(_is_text), "names and texts")

_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "side": (_is_text, "a name"),
    "drive": (_is_text, "a name"),
    "quantities": _NAMES,
    "numbers": _NAMES,
    "state": _NAMES,
    "not_recorded": (_listed(_is_text), "a list of sentences"),
    "versions": _TEXTS,
    "platform": (_is_dict, "names and values"),
    "modules": _TEXTS,
    "dtypes": _TEXTS,
    "shapes": (_mapped(_listed(_is_size)), "names and shapes"),
    "recipe": (_is_recipe, "an optimizer's class, its groups and what else was found"),
    "twins": (_is_twins, "steps, layers and reasons"),
}
