"""What stays open is refused, with the candidates and the remedy."""

from collections.abc import Iterable, Sequence

from torch_bridge.weights.jax_side import JaxSide
from torch_bridge.weights.kinds.recurrent import lacks_new_gates_bias
from torch_bridge.weights.matching import Unit, order_is_unknown
from torch_bridge.weights.pair import Pair
from torch_bridge.weights.torch_side import TorchLayer, TorchSide

_SHOWN = 8


def refuse_ambiguity(units: Iterable[Unit]) -> None:
    """Refuse layers, or tensors, that may lie at several places, or one way or another.

    Raises:
        ValueError: there are such; each is named with its candidates.
    """
    open_units = [
        unit for unit in units if unit.settled is None and unit.choices and not unit.optional and not unit.layer.tied
    ]
    if not open_units:
        return
    lines = [f"  {_described(unit.layer)} may be {_candidates(unit)}" for unit in open_units[:_SHOWN]]
    if len(open_units) > _SHOWN:
        lines.append(f"  and {len(open_units) - _SHOWN} more")
    if any(order_is_unknown(list(unit.choices)) for unit in open_units):
        lines.append(
            "linen numbers layers in the order in which they are made, not called: of Dense(8)(relu(Dense(8)(x))) the "
            "outer one is Dense_0"
        )
    unit = open_units[0]
    path, fits = next(iter(unit.choices.items()))
    here = "/".join(path) or fits[0].pairs[0].path
    if len(unit.choices) == 1 and len(fits) > 1:
        pair, other = fits[0].pairs[0], fits[1].pairs[0]
        remedy = (
            f"overrides={{{pair.tensors[0]!r}: ({pair.path!r}, {str(pair.operation)!r})}} or {str(other.operation)!r}"
        )
    else:
        remedy = f"overrides={{{unit.layer.name!r}: {here!r}}}"
    raise ValueError(
        "the weights cannot be distinguished by shapes, names or values:\n"
        + "\n".join(lines)
        + f"\nsay which is which, for instance {remedy} (* stands for a number); or give the port torch's names, or "
        "torch's values"
    )


def refuse_missing_bias(units: Iterable[Unit], jax: JaxSide) -> None:
    """Refuse a GRU with biases against flax's cell that has not all of them.

    Raises:
        ValueError: there is one.
    """
    for unit in units:
        for node in jax.nodes:
            if unit.settled is None and not unit.choices and lacks_new_gates_bias(unit.layer, node):
                raise ValueError(
                    f"{unit.layer.name or 'the GRU'!r} cannot be {'/'.join(node.path) or 'the tree itself'!r}: "
                    "nnx.GRUCell has no bias in the state's part of the new gate, and torch's GRU has one, which the "
                    "reset gate scales; write the cell with two nnx.Linear, dense_i and dense_h, that both have a bias"
                )


def refuse_leftovers(torch: TorchSide, jax: JaxSide, pairs: Sequence[Pair], left_out: Iterable[str]) -> None:
    """Refuse leaves that no tensor makes, and parameters that lie nowhere.

    Raises:
        ValueError: there are such; they are named with their shapes.
    """
    placed = {name for pair in pairs for name in pair.tensors} | set(left_out)
    taken = {pair.leaf for pair in pairs}
    tensors = [tensor for tensor in torch.tensors.values() if tensor.is_weight and tensor.name not in placed]
    leaves = [leaf for leaf in jax.leaves if leaf.number not in taken]
    if not tensors and not leaves:
        return
    torch_only = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in tensors[:_SHOWN]) or "nothing"
    jax_only = ", ".join(f"{leaf.text} {leaf.shape}" for leaf in leaves[:_SHOWN]) or "nothing"
    raise ValueError(
        f"there are weights without a counterpart. In torch alone: {torch_only}. In JAX alone: {jax_only}. If a port "
        "does without a parameter, give overrides={name: None}; if two of these are the same, by "
        "overrides={name: path}; of JAX's side give the model's own parameters only"
    )


def _described(layer: TorchLayer) -> str:
    kind = layer.kind or "/".join(layer.families)
    shapes = ", ".join(f"{role} {tensor.shape}" for role, tensor in layer.tensors.items())
    return f"{layer.name or 'the model itself'} ({kind}: {shapes})"


def _candidates(unit: Unit) -> str:
    texts = []
    for path, fits in unit.choices.items():
        ways = [fit.layout[1] for fit in fits]
        where = "/".join(path) or "the tree itself"
        texts.append(where if len(fits) == 1 else f"{where} ({' or '.join(ways)})")
    more = f" or {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return " or ".join(texts[:_SHOWN]) + more
