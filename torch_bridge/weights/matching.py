"""Which layer lies where: by overrides, values, shapes, neighbours and names; an ambiguity is left over."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch_bridge.weights.families import numbered_by_linen
from torch_bridge.weights.jax_side import Leaf, Path
from torch_bridge.weights.kinds import Fit
from torch_bridge.weights.names import Skeleton, likeness, ranks, skeleton_of, tokens_of
from torch_bridge.weights.neighbours import by_neighbours
from torch_bridge.weights.torch_side import Tensor, TorchLayer
from torch_bridge.weights.values import holds_the_same


@dataclass
class Unit:
    """A layer, or a tensor by itself, and where it might lie.

    Attributes:
        layer: of torch's.
        choices: the places and the fits at each.
        by: what narrowed the choices last.
        settled: the fit that was decided for.
        optional: it need not be placed, and is not by its shape alone: a buffer by itself.
    """

    layer: TorchLayer
    choices: dict[Path, list[Fit]]
    by: str = "shape"
    settled: Fit | None = None
    path: Path = field(default=())
    optional: bool = False

    @property
    def fits(self) -> list[Fit]:
        """All fits, at all places."""
        return [fit for fits in self.choices.values() for fit in fits]

    def narrow(self, choices: Mapping[Path, Iterable[Fit]], by: str) -> None:
        """Leave fewer choices, and note why."""
        self.choices, self.by = {path: list(fits) for path, fits in choices.items() if fits}, by


def match(units: Sequence[Unit], tensors: Mapping[str, Tensor], leaves: Mapping[int, Leaf]) -> None:
    """Settle every unit that can be settled; the rest keeps its choices.

    Args:
        units: are changed.
        tensors: by name.
        leaves: by number.
    """
    for unit in units:
        if unit.by == "override":
            continue
        same = {
            path: [fit for fit in fits if holds_the_same(fit, tensors, leaves)] for path, fits in unit.choices.items()
        }
        if any(same.values()):
            unit.narrow(same, "values")
    for tied in (False, True):  # tied layers are placed after the layers that own the tensors
        chosen = [unit for unit in units if unit.layer.tied == tied]
        while _settle(chosen, units) or _layouts(chosen, units) or by_neighbours(chosen) or _names(chosen):
            pass


def _open(units: Iterable[Unit]) -> list[Unit]:
    return [unit for unit in units if unit.settled is None and unit.choices]


def _settle(units: Sequence[Unit], all_units: Sequence[Unit]) -> bool:
    """Settle each unit that has one choice left which no other needs; return whether there was one."""
    ready = [unit for unit in _open(units) if len(unit.fits) == 1 and not (unit.optional and unit.by == "shape")]
    wanted: dict[int, list[Unit]] = {}
    for unit in ready:
        for leaf in unit.fits[0].leaves:
            wanted.setdefault(leaf, []).append(unit)
    done = False
    for unit in ready:
        if not unit.choices:  # an earlier one took its place
            continue
        path, (fit,) = next(iter(unit.choices.items()))
        rivals = [other for leaf in fit.leaves for other in wanted[leaf] if other is not unit]
        if not rivals or (unit.by == "values" and all(other.by != "values" for other in rivals)):
            unit.path, unit.settled, done = path, fit, True
            _drop_taken(fit, all_units)
    return done


def _drop_taken(settled: Fit, units: Iterable[Unit]) -> None:
    for unit in _open(units):
        left = {path: [fit for fit in fits if not fit.leaves & settled.leaves] for path, fits in unit.choices.items()}
        if sum(map(len, left.values())) < len(unit.fits):
            unit.choices = {path: fits for path, fits in left.items() if fits}


def _layouts(units: Sequence[Unit], all_units: Sequence[Unit]) -> bool:
    """Where a square weight may lie either way, take the way of those whose shape leaves no choice.

    Of a leaf named as torch's own, and without such evidence, torch's layout is taken.
    """
    seen: dict[tuple[str, str | None], set[str]] = {}
    for unit in all_units:
        for fits in unit.choices.values():
            if len(fits) == 1:
                seen.setdefault((fits[0].layout[0], unit.layer.kind), set()).add(fits[0].layout[1])
    done = False
    for unit in _open(units):
        choices = {}
        for path, fits in unit.choices.items():
            name = fits[0].layout[0]
            ways = seen.get((name, unit.layer.kind), set()) or ({"as is"} if name == "weight" else set())
            kept = [fit for fit in fits if fit.layout[1] in ways]
            choices[path] = kept if len(kept) == 1 else fits
        if sum(map(len, choices.values())) < len(unit.fits):
            unit.narrow(choices, unit.by if unit.by != "shape" else "layout")
            done = True
    return done


def _names(units: Sequence[Unit]) -> bool:
    """Narrow the choices of units that might change places by their names; return whether any were narrowed."""
    return any([_names_of_component(component) for component in components(units)])


def components(units: Iterable[Unit]) -> list[list[Unit]]:
    """Return the open units in groups that might change places with each other."""
    groups: list[tuple[set[int], list[Unit]]] = []
    for unit in _open(units):
        leaves = {leaf for fit in unit.fits for leaf in fit.leaves}
        members = [unit]
        for group in [group for group in groups if group[0] & leaves]:
            groups.remove(group)
            leaves |= group[0]
            members = group[1] + members
        groups.append((leaves, members))
    return [members for _, members in groups]


def _names_of_component(units: list[Unit]) -> bool:
    torch: dict[Skeleton, list[tuple[tuple[int, ...], Unit]]] = {}
    jax: dict[Skeleton, list[tuple[tuple[int, ...], Path]]] = {}
    for unit in units:
        skeleton, numbers = skeleton_of(tokens_of(unit.layer.name.split(".")))
        torch.setdefault(skeleton, []).append((numbers, unit))
    for path in dict.fromkeys(path for unit in units for path in unit.choices):
        skeleton, numbers = skeleton_of(tokens_of(path))
        jax.setdefault(skeleton, []).append((numbers, path))
    alike = {
        (s, r): (likeness(s, r), ordered)
        for s, members in torch.items()
        for r, places in jax.items()
        if (ordered := _in_order(members, places)) is not None
    }
    only = len(torch) == len(jax) == 1  # one numbered family on each side: their order is all there is
    done = False
    for (s, r), (score, ordered) in alike.items():
        rivals = [other for key, (other, _) in alike.items() if key != (s, r) and (key[0] == s or key[1] == r)]
        if (score > 0 and all(other < score - 1e-9 for other in rivals)) or (only and len(ordered) > 1):
            for unit, path in ordered:
                if len(unit.choices) > 1 or (unit.optional and unit.by == "shape"):
                    unit.narrow({path: unit.choices[path]}, "names" if score > 0 else "order")
                    done = True
    return done


def order_is_unknown(paths: Sequence[Path]) -> bool:
    """Return True if places differ in a number that linen gave to layers of one module, see `numbered_by_linen`."""
    first: dict[Path, str] = {}
    for path in paths:
        for depth, part in enumerate(path):
            if numbered_by_linen(part) and first.setdefault(path[:depth], part) != part:
                return True
    return False


def _in_order(
    members: list[tuple[tuple[int, ...], Unit]], places: list[tuple[tuple[int, ...], Path]]
) -> list[tuple[Unit, Path]] | None:
    """Pair two families that are numbered alike; None if they are not, or a unit does not fit its place."""
    if len(members) != len(places) or order_is_unknown([path for _, path in places]):
        return None
    left = sorted(zip(ranks([numbers for numbers, _ in members]), range(len(members)), strict=True))
    right = sorted(zip(ranks([numbers for numbers, _ in places]), range(len(places)), strict=True))
    if [rank for rank, _ in left] != [rank for rank, _ in right] or len({rank for rank, _ in left}) < len(left):
        return None
    ordered = [(members[i][1], places[j][1]) for (_, i), (_, j) in zip(left, right, strict=True)]
    return ordered if all(path in unit.choices for unit, path in ordered) else None
