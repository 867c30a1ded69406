"""Small trace files of every kind, without torch."""

import ml_dtypes
import numpy as np

from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.file import TraceFile
from torch_bridge.trace.keep import Keep
from torch_bridge.translate.recipe import Group, Recipe
from torch_bridge.translate.recipe_data import recipe_to_data

OPTIONS = {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}

HEADER = {
    "side": "torch",
    "versions": {"torch": "2.13.0"},
    "shapes": {"w": [6, 5], "b": []},
    "dtypes": {"w": "float32", "b": "bfloat16"},
    "state": ["momentum_buffer"],
    "quantities": ["momentum_buffer"],
    "numbers": ["learning_rate"],
    "recipe": recipe_to_data(Recipe("torch.optim.sgd.SGD", (Group(("w", "b"), OPTIONS),))),
}


def values(t, seed=0):
    """The quantities of step ``t``."""
    draw = np.random.default_rng([seed, t]).standard_normal
    return {
        "data": np.arange(4 - (t % 3 == 2)),
        "loss": np.float32(draw()),
        "gradient/w": draw((6, 5)).astype(np.float32),
        "learning_rate/0": np.float64(0.1 / (t + 1)),
        "momentum_buffer/w": draw((6, 5)),
        "parameter/w": draw((6, 5)).astype(np.float32),
        "parameter/b": np.array(draw(), ml_dtypes.bfloat16),
    }


def builder(file=None, keep=None, name="", seed=0):
    made = TraceBuilder(HEADER, keep=keep, file=file, name=name)
    made.initial = {"parameter/w": values(0, seed)["parameter/w"]}
    return made


def written(path, keep=None, runs=("net",), n_steps=5):
    """Write a file with these runs, the steps of one after those of the other in turn."""
    with TraceFile(path) as file:
        made = [builder(file, keep, name, seed) for seed, name in enumerate(runs)]
        for t in range(n_steps):
            for seed, each in enumerate(made):
                each.append(values(t, seed), {"loss": np.float64(t)} if t % 4 == 0 else None)
                if t == 2:
                    each.fill("metric", np.float64(np.nan))
        for each in made:
            each.static["not_recorded"] = ["a sentence"]
            each.close({"pixels": np.arange(9, dtype=np.uint8)})
    return path


KINDS = {
    "full": {},
    "digest": {"keep": Keep("digest", every=3)},
    "ring": {"keep": Keep("ring", last=2)},
    "two runs": {"runs": ("discriminator", "generator")},
}
