"""Pairs a torch model's parameters and buffers with the leaves of a JAX port."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch_bridge.weights.families import is_kin
from torch_bridge.weights.jax_side import JaxSide, Node, Path, read_jax
from torch_bridge.weights.kinds import Fit, fits_of
from torch_bridge.weights.kinds.single import single_fits
from torch_bridge.weights.matching import Unit, match
from torch_bridge.weights.overrides import Override, apply_overrides, expanded, left_out, narrow_modules, without
from torch_bridge.weights.pair import Pair
from torch_bridge.weights.refusal import refuse_ambiguity, refuse_leftovers, refuse_missing_bias
from torch_bridge.weights.result import Weights
from torch_bridge.weights.stacked import families_of, stacked_fits, stacked_layer
from torch_bridge.weights.torch_side import TorchLayer, TorchSide, read_torch


def map_weights(torch_model: Any, jax_params: Any, *, overrides: Mapping[str, Override] | None = None) -> Weights:
    """Find which leaf of a JAX port is made of which of torch's tensors, and how.

    A layer is placed where its kind, shapes and leaves fit. Where it fits several places, one is chosen by the values,
    if the port holds torch's; else by where its neighbours are; else by names: words in common, and numbers in the
    same order (but for those that linen gives to its own layers, which count constructions, not calls). What these
    leave open is refused, never guessed.

    Known are Linear, Conv and ConvTranspose of 1 to 3 dimensions, Embedding, BatchNorm, InstanceNorm, GroupNorm,
    LayerNorm, RMSNorm, MultiheadAttention (and a fused Linear of query, key and value), LSTM, GRU and RNN; of other
    modules each parameter is placed by itself. Tensors that torch ties are one; layers that JAX keeps stacked along a
    leading axis, as ``nn.scan`` does, are cut from it.

    Args:
        torch_model: a ``torch.nn.Module``; or its state dict; or a `Trace`, where torch is not installed.
        jax_params: an nnx Module or ``nnx.State``; linen's variables or parameters; an equinox module, or the pair of a
            module and its ``equinox.nn.State``; or any tree of dicts, lists and tuples. Arrays, or their shapes.
        overrides: pairs fixed by the user: torch's name of a tensor or module -> the path in JAX; for a tensor also
            ``(path, operation)`` with an operation as it is printed; None for what the port does without. ``*`` stands
            for a number: ``{"h.*.ln_1": "Block_*/LayerNorm_0"}``.

    Returns:
        `Weights`: print it to see every pair and operation; ``to_jax`` and ``to_torch`` move values; `check` and
        `replay` take it as ``weights=``.

    Raises:
        ValueError: a layer may lie at several places, which are listed; a leaf or a parameter has no counterpart; an
            override does not fit.
        TypeError: ``torch_model`` is none of these.

    Exactness: bitwise, there and back, but for the sum of two biases.

    Example:
        >>> import numpy as np
        >>> state = {"fc1.weight": np.zeros((2, 3)), "fc1.bias": np.zeros(2)}
        >>> params = {"dense": {"kernel": np.zeros((3, 2)), "bias": np.zeros(2)}}
        >>> print(map_weights(state, params))
        torch       shape  JAX           shape  operation        by
        fc1.weight  2x3    dense/kernel  3x2    transpose(1, 0)  shape
        fc1.bias    2      dense/bias    2      as is            shape
    """
    torch, jax = read_torch(torch_model), read_jax(jax_params)
    overrides = expanded(overrides or {}, torch)
    gone = left_out(torch, overrides)
    leaves = {leaf.number: leaf for leaf in jax.leaves}
    units = _layer_units(without(torch.layers, gone), jax)
    given = apply_overrides(overrides, torch, jax, units)
    if given.pairs:  # what they took is out of reach
        units = _layer_units(given.layers, jax, {pair.leaf for pair in given.pairs})
        apply_overrides(
            {name: where for name, where in overrides.items() if _is_left(name, given.pairs)}, torch, jax, units
        )
    match(units, torch.tensors, leaves)
    refuse_missing_bias(units, jax)
    refuse_ambiguity(units)
    singles = _single_units(units, jax, given.pairs)
    narrow_modules(overrides, torch, jax, singles)
    match(singles, torch.tensors, leaves)
    refuse_ambiguity(singles)
    pairs = [*given.pairs, *(replace(pair, by=unit.by) for unit in [*units, *singles] if unit.settled is not None
                             for pair in unit.settled.pairs)]  # fmt: skip
    refuse_leftovers(torch, jax, pairs, gone)
    return _weights(torch, jax, jax_params, pairs, units)


def _is_left(name: str, pairs: Iterable[Pair]) -> bool:
    return all(name not in pair.tensors for pair in pairs)


def _layer_units(layers: Sequence[TorchLayer], jax: JaxSide, taken: Iterable[int] = ()) -> list[Unit]:
    """The layers, each with the places where it fits; those that JAX keeps stacked are one unit."""
    gone = frozenset(taken)
    units = [Unit(layer, _with_statistics(_choices(partial(fits_of, layer), jax, gone))) for layer in layers]
    places = {path for unit in units for path in unit.choices}
    stacked: set[int] = set()
    for members in families_of(layers):
        choices = _choices(partial(stacked_fits, members), jax, gone)
        # A stack is where no layer fits by itself; layers may be numbered twice, but are stacked once.
        if set(choices) - places and not stacked & {id(layer) for layer in members}:
            stacked |= {id(layer) for layer in members}
            units.append(Unit(stacked_layer(members), choices))
    return [unit for unit in units if id(unit.layer) not in stacked]


def _with_statistics(choices: dict[Path, list[Fit]]) -> dict[Path, list[Fit]]:
    """Leave out the places that lack running statistics, if others have them: those are of other norms."""
    kept = {path: fits for path, fits in choices.items() if any(fit.has_statistics for fit in fits)}
    return kept or choices


def _choices(fits: Callable[[Node], list[Fit]], jax: JaxSide, gone: frozenset[int]) -> dict[Path, list[Fit]]:
    found = {node.path: [fit for fit in fits(node) if not fit.leaves & gone] for node in jax.nodes}
    return {path: each for path, each in found.items() if each}


def _single_units(units: Sequence[Unit], jax: JaxSide, given: Iterable[Pair]) -> list[Unit]:
    """The tensors of the layers that lie nowhere as a whole, each by itself."""
    pairs = [*given, *(pair for unit in units if unit.settled is not None for pair in unit.settled.pairs)]
    taken, placed = {pair.leaf for pair in pairs}, {name for pair in pairs for name in pair.tensors}
    free = [leaf for leaf in jax.leaves if leaf.number not in taken]
    known = {node.path: node.family for node in jax.nodes}
    singles = []
    for unit in units:
        for role, tensor in unit.layer.tensors.items():
            if tensor.name in placed or unit.layer.tied:
                continue
            layer = replace(unit.layer, name=tensor.name, tensors={role: tensor})
            choices = {
                leaf.path: fits
                for leaf in free
                if any(family == "Tensor" or is_kin(family, known[leaf.path[:-1]]) for family in layer.families)
                and (fits := list(single_fits(tensor, layer.families, leaf)))
            }
            singles.append(Unit(layer, choices, optional=tensor.buffer))
    return singles


def _weights(torch: TorchSide, jax: JaxSide, template: Any, pairs: Sequence[Pair], units: Iterable[Unit]) -> Weights:
    places = {name: number for number, name in enumerate(torch.order)}
    ordered = sorted(pairs, key=lambda pair: (places[pair.terms[0].tensor], pair.terms[0].rows or (0, 0)))
    placed = {name for pair in pairs for name in pair.tensors}
    return Weights(
        template,
        tuple(ordered),
        {name: torch.tensors[name].shape for name in torch.tensors if name in placed},
        {
            name: "/".join(unit.path)
            for unit in units
            if unit.settled is not None
            for name in unit.layer.members or (unit.layer.name,)
        },
        torch.aliases,
        {name: tensor.value for name, tensor in torch.tensors.items() if name not in placed},
        torch.order,
        jax.others,
        jax.settings,
    )
