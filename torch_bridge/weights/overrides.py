"""The user's own table of places, which goes before names, shapes and values."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from torch_bridge.weights.jax_side import JaxSide, Leaf, Path, keys_of
from torch_bridge.weights.kinds.fit import whole
from torch_bridge.weights.kinds.single import single_fits
from torch_bridge.weights.matching import Unit
from torch_bridge.weights.operation import parse
from torch_bridge.weights.pair import Pair
from torch_bridge.weights.torch_side import Tensor, TorchLayer, TorchSide

Override: TypeAlias = str | tuple[str, str] | None
"""A path of JAX's; or a path and an operation as it is printed; or None for what JAX does without."""


def expanded(overrides: Mapping[str, Override], torch: TorchSide) -> dict[str, Override]:
    """Return a table without stars: ``*`` stands for a number, in torch's name and, where it has one, in JAX's path.

    Args:
        overrides: such as ``{"h.*.ln_1": "Block_*/LayerNorm_0"}``.
        torch: torch's side.

    Raises:
        ValueError: a name with a star matches nothing, or an override is no path, pair or None.
    """
    table: dict[str, Override] = {}
    modules = {name.rpartition(".")[0] for name in torch.order}
    for name, where in overrides.items():
        pair = isinstance(where, tuple) and len(where) == 2 and all(isinstance(each, str) for each in where)
        if not (where is None or isinstance(where, str) or pair):
            raise ValueError(f"the override {name!r} is {where!r}: give a path, (path, operation) or None")
        if "*" not in name:
            table[name] = where
            continue
        pattern = re.compile(re.escape(name).replace(r"\*", r"(\d+)"))
        matches = [match for each in (*torch.order, *sorted(modules)) if (match := pattern.fullmatch(each))]
        if not matches:
            raise ValueError(f"the override {name!r} matches no tensor or module of torch's; * stands for a number")
        for match in matches:
            table[match[0]] = _filled(where, match.groups())
    return table


def _filled(where: Override, numbers: Sequence[str]) -> Override:
    if where is None:
        return None
    path, *operation = (where,) if isinstance(where, str) else where
    for number in numbers:
        path = path.replace("*", number, 1)
    return (path, operation[0]) if operation else path


@dataclass(frozen=True)
class Given:
    """What overrides decide at once.

    Attributes:
        layers: torch's layers, without the tensors that were placed or left out.
        pairs: the tensors that were placed by themselves.
        left_out: the names of those that JAX does without.
    """

    layers: Sequence[TorchLayer]
    pairs: Sequence[Pair]
    left_out: Sequence[str]


def left_out(torch: TorchSide, overrides: Mapping[str, Override]) -> list[str]:
    """Return the tensors, and those of modules, that are overridden by None.

    Raises:
        ValueError: torch has no such tensor or module.
    """
    found = []
    for name, where in overrides.items():
        inside = _tensors_of(name, torch)
        if where is None:
            found += inside
    return found


def without(layers: Iterable[TorchLayer], names: Iterable[str]) -> list[TorchLayer]:
    """Return the layers without some of their tensors; those that have none left are gone."""
    gone = set(names)
    left = [
        replace(layer, tensors={role: t for role, t in layer.tensors.items() if t.name not in gone}) for layer in layers
    ]
    return [layer for layer in left if layer.tensors]


def apply_overrides(overrides: Mapping[str, Override], torch: TorchSide, jax: JaxSide, units: Sequence[Unit]) -> Given:
    """Narrow the choices of units to the user's overrides.

    Args:
        overrides: torch's name of a tensor or a module -> `Override`.
        torch: torch's side.
        jax: JAX's side.
        units: are changed.

    Returns:
        The tensors that lie where no layer of their kind could, placed by themselves, and the layers that are left.

    Raises:
        ValueError: a name or path is unknown, or the two do not fit; it is named.
    """
    pairs: list[Pair] = []
    for name, where in overrides.items():
        if where is None:
            continue
        path, operation = (where, None) if isinstance(where, str) else where
        keys = keys_of(path)
        if name in torch.tensors or name in torch.aliases:
            tensor = torch.tensors[torch.aliases.get(name, name)]
            leaf = _leaf(path, keys, jax)
            if not _narrow_tensor(units, tensor, leaf, operation):
                pairs.append(_single(units, tensor, leaf, operation))
        elif operation is not None:
            raise ValueError(
                f"the override {name!r} is a module: an operation, here {operation!r}, is given for a tensor"
            )
    narrow_modules(overrides, torch, jax, units)
    placed = {name for pair in pairs for name in pair.tensors}
    return Given(without([unit.layer for unit in units], placed), pairs, ())


def _tensors_of(name: str, torch: TorchSide) -> list[str]:
    inside = [each for each in torch.tensors if each == name or each.startswith(f"{name}.")]
    if not inside and not any(each == name or each.startswith(f"{name}.") for each in torch.aliases):
        modules = [layer.name for layer in torch.layers]
        raise ValueError(
            f"the override {name!r} is no tensor or module of torch's{_nearest(name, [*torch.order, *modules])}"
        )
    return inside


def _leaf(path: str, keys: Path, jax: JaxSide) -> Leaf:
    for leaf in jax.leaves:
        if keys in (leaf.path, keys_of(leaf.text)):
            return leaf
    raise ValueError(f"no JAX leaf has the path {path!r}{_nearest('/'.join(keys), [leaf.text for leaf in jax.leaves])}")


def _known(path: str, keys: Path, jax: JaxSide) -> Path:
    paths = {node.path for node in jax.nodes} | {leaf.path for leaf in jax.leaves}
    without_collection = keys[1:] if keys[:1] in (("params",), ("batch_stats",)) else keys
    for known in (keys, without_collection):
        if known in paths:
            return known
    raise ValueError(f"JAX has nothing at {path!r}{_nearest('/'.join(keys), ['/'.join(each) for each in paths])}")


def _narrow_tensor(units: Sequence[Unit], tensor: Tensor, leaf: Leaf, operation: str | None) -> bool:
    """Keep the fits in which the tensor is the leaf; False if there are none."""
    wanted = None if operation is None else str(parse(operation, tensor.shape))
    for unit in units:
        choices = {
            path: [
                fit
                for fit in fits
                if any(
                    pair.leaf == leaf.number and tensor.name in pair.tensors and wanted in (None, str(pair.operation))
                    for pair in fit.pairs
                )
            ]
            for path, fits in unit.choices.items()
        }
        if any(choices.values()):
            unit.narrow(choices, "override")
            return True
    return False


def _single(units: Sequence[Unit], tensor: Tensor, leaf: Leaf, operation: str | None) -> Pair:
    if operation is None:
        families = next(unit.layer.families for unit in units if tensor in unit.layer.tensors.values())
        fits = list(single_fits(tensor, families, leaf))
        if len(fits) != 1:
            ways = " or ".join(repr(str(fit.pairs[0].operation)) for fit in fits) or "none that is known"
            raise ValueError(
                f"the override {tensor.name!r} {tensor.shape} -> {leaf.text!r} {leaf.shape} needs an operation "
                f"({ways}): give ({leaf.text!r}, operation)"
            )
        return replace(fits[0].pairs[0], by="override")
    way = parse(operation, tensor.shape)
    if way.result != leaf.shape:
        raise ValueError(f"{operation!r} makes {tensor.name!r} {way.result}, but {leaf.text!r} is {leaf.shape}")
    return replace(whole(tensor, leaf, way), by="override")


def narrow_modules(overrides: Mapping[str, Override], torch: TorchSide, jax: JaxSide, units: Sequence[Unit]) -> None:
    """Keep the choices of a module's units that are below the path that the user gave for it.

    Args:
        overrides: those of tensors are passed over.
        torch: torch's side.
        jax: JAX's side.
        units: are changed; those without any choice are left to be placed tensor by tensor.

    Raises:
        ValueError: the path is unknown, or a unit does not fit there.
    """
    for name, where in overrides.items():
        if not isinstance(where, str) or name in torch.tensors or name in torch.aliases:
            continue
        path = _known(where, keys_of(where), jax)
        for unit in units:
            if not unit.choices or not (unit.layer.name == name or unit.layer.name.startswith(f"{name}.")):
                continue
            choices = {each: fits for each, fits in unit.choices.items() if each[: len(path)] == path}
            if not choices:
                shapes = ", ".join(f"{role} {tensor.shape}" for role, tensor in unit.layer.tensors.items())
                raise ValueError(
                    f"the override {name!r} -> {'/'.join(path)!r} does not fit: no layer there can be "
                    f"{unit.layer.name!r} ({shapes}); to place a tensor whatever its layer, override it by its own name"
                )
            if unit.by != "override" or len(choices) < len(unit.choices):
                unit.narrow(choices, "override")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.4)
    return f"; near to it are {', '.join(map(repr, near))}" if near else ""
