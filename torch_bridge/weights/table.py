"""A mapping of weights as text."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch_bridge.weights.result import Weights

HEAD = ("torch", "shape", "JAX", "shape", "operation", "by")


def table(weights: "Weights") -> str:
    """Return one line for each pair, then what is tied, summed, set, and without a counterpart."""
    rows = [
        (
            pair.source,
            _shape(pair.operation.shape),
            pair.path,
            _shape(pair.operation.result),
            str(pair.operation),
            pair.by,
        )
        for pair in weights.pairs
    ]
    lines = [_line(row, _widths([HEAD, *rows])) for row in [HEAD, *rows]]
    lines += [f"one tensor in torch: {alias} is {name}" for alias, name in weights.aliases.items()]
    sums = dict.fromkeys(pair.tensors for pair in weights.pairs if pair.is_sum)
    lines += [f"back to torch: {first} gets the whole sum, {', '.join(others)} zeros" for first, *others in sums]
    leaves = Counter(name for pair in weights.pairs for name in {str(term) for term in pair.terms})
    lines += [f"two leaves in JAX for one tensor in torch: {name}" for name, n in leaves.items() if n > 1]
    lines += [f"set when torch's values move in: {path} = {value}" for path, value in weights.settings.values()]
    if weights.unpaired:
        lines.append(f"in torch only: {', '.join(weights.unpaired)}")
    if weights.others:
        lines.append(f"in JAX, no weights: {', '.join(weights.others)}")
    return "\n".join(lines)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[i]) for row in rows) for i in range(len(HEAD))]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
