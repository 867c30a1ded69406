"""What two names have in common: ``layers.0.self_attn`` and ``EncoderLayer_0/attention``."""

import re
from collections.abc import Sequence

Tokens = tuple[str, ...]
Skeleton = tuple[str, ...]

NUMBER = "#"

_SAME = {
    "norm": "norms",
    "layer_norm": "ln layernorm",
    "batch_norm": "bn batchnorm batchnorm1d batchnorm2d batchnorm3d",
    "group_norm": "gn groupnorm",
    "rms_norm": "rmsnorm",
    "instance_norm": "instancenorm",
    "linear": "dense fc lin linears",
    "conv": "conv1d conv2d conv3d convolution convs",
    "convtranspose": "convtranspose1d convtranspose2d convtranspose3d deconv conv_transpose",
    "embed": "embedding emb embeddings",
    "attn": "attention mha multiheadattention multiheaddotproductattention",
    "query": "q wq",
    "key": "k wk",
    "value": "v wv",
    "qkv": "c_attn in_proj",
    "proj": "projection c_proj",
    "encoder": "enc",
    "decoder": "dec",
    "reverse": "backward bwd",
    "weight": "kernel w scale gamma",
    "bias": "b beta offset",
    "output": "out",
    "input": "in",
    "token_embed": "wte tok_embed token_embedding embed_tokens tok_emb",
    "position_embed": "wpe pos_embed position_embedding pos_emb",
    "block": "h blk",
    "shortcut": "downsample skip",
    "head": "lm_head classifier",
    "up": "upsample",
    "down": "downsampling",
}
_CANONICAL = {word: name for name, words in _SAME.items() for word in words.split()}
_PIECES = re.compile(r"\d+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def tokens_of(parts: Sequence[str]) -> Tokens:
    """Return the words and numbers of a path, in one spelling."""
    tokens: list[str] = []
    for part in parts:
        stem, _, number = part.rpartition("_")
        if stem and number.isdigit():
            tokens += [*_words(stem), number]
        else:
            tokens += _words(part)
    return tuple(tokens)


def _words(part: str) -> list[str]:
    if (low := part.strip("_").lower()) in _CANONICAL:
        return _CANONICAL[low].split("_")
    if re.fullmatch(r"conv(transpose)?[123]d", low):
        return [low[:-2]]
    words = []
    for piece in _PIECES.findall(part):
        low = piece.lower()
        low = low[:-1] if len(low) > 3 and low.endswith("s") and not low.endswith("ss") else low
        words.append(_CANONICAL.get(low, low))
    return words


def skeleton_of(tokens: Tokens) -> tuple[Skeleton, tuple[int, ...]]:
    """Return the tokens with their numbers blotted out, and the numbers."""
    skeleton = tuple(NUMBER if token.isdigit() else token for token in tokens)
    return skeleton, tuple(int(token) for token in tokens if token.isdigit())


def likeness(a: Skeleton, b: Skeleton) -> float:
    """Return how much of two skeletons is common and in the same order, 0 to 1; 0 if no word is."""
    if not set(a) & set(b) - {NUMBER}:
        return 0.0
    table = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            both = table[i][j] + _weight(left) if left == right else 0.0
            table[i + 1][j + 1] = max(both, table[i][j + 1], table[i + 1][j])
    return 2 * table[-1][-1] / (sum(map(_weight, a)) + sum(map(_weight, b)))


def _weight(token: str) -> float:
    return 0.5 if token == NUMBER else 1.0


def ranks(numbers: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return vectors of numbers with each column replaced by ranks; columns that are the same throughout are left out.

    Two families are numbered alike if their sorted ranks are equal: ``0, 2, 4`` and ``1, 2, 3``.
    """
    columns = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    ranked = [[sorted(set(column)).index(n) for n in column] for column in columns]
    return list(zip(*ranked, strict=True)) if ranked else [()] * len(numbers)
