"""A recipe that comes from a file holds values alone."""

import json

import pytest
import torch

from torch_bridge.translate.read import read_recipe
from torch_bridge.translate.recipe_data import recipe_from_data, recipe_to_data


def recorded_data():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    options = {"clip": {"max_norm": 1.0}, "named_parameters": list(model.named_parameters())}
    return recipe_to_data(read_recipe(optimizer, scheduler, average, **options))


CODE = "print(1)"
WRONG = {
    "optimizer": (("optimizer",), ["torch"]),
    "names": (("groups", 0, "names", 0), 3),
    "lr": (("groups", 0, "options", "lr"), CODE),
    "betas is None": (("groups", 0, "options", "betas"), None),
    "amsgrad": (("groups", 0, "options", "amsgrad"), CODE),
    "one line": (("groups", 0, "schedulers", 0, "lr_lambda", "function"), f"f\n{CODE}"),
    "no scheduler has": (("groups", 0, "schedulers", 0, "last_epoch"), CODE),
    "max_norm": (("clip", "arguments", "max_norm"), CODE),
    "average: name": (("average", "name"), "exec"),
    "average: decay": (("average", "options", "decay"), CODE),
    "steps_per_epoch": (("steps_per_epoch",), CODE),
    "tied": (("tied",), {"a": 1}),
    "root": (("root", "name"), 1),
}


@pytest.mark.parametrize("said", WRONG)
def test_a_value_of_another_kind_is_named_and_becomes_no_source(said):
    """`torch_bridge.explain` writes a trace's recipe as source, which people run."""
    path, value = WRONG[said]
    data = json.loads(json.dumps(recorded_data()))
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=said):
        recipe_from_data(data)


def test_a_missing_part_is_named():
    for key in ("groups", "root", "clip", "frozen"):
        data = recorded_data()
        del data[key]
        with pytest.raises(ValueError, match=f"this is no recipe: it has no '{key}'"):
            recipe_from_data(data)
