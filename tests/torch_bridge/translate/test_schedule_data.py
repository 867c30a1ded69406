"""Schedulers as JSON and back."""

import json

import pytest

from tests.support.torch_recipes import SCHEDULERS, make
from torch_bridge.translate.lr_scheduler import turns_from_torch
from torch_bridge.translate.schedule_data import UnknownFunction, scheduler_from_data, scheduler_to_data
from torch_bridge.translate.scheduler_progress import as_list

WITH_FUNCTIONS = ("lambda", "lambda for each group", "multiplicative", "cyclic, a function")


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_comes_back(name):
    *_, scheduler = make(name)
    for turns in turns_from_torch(as_list(scheduler)):
        for each in turns:
            data = json.loads(json.dumps(scheduler_to_data(each)))
            made = scheduler_from_data(data)
            assert type(made) is type(each)
            assert scheduler_to_data(made) == data
            assert made == each or name in WITH_FUNCTIONS


@pytest.mark.parametrize("name", ["tabulate", "MomentumSchedule", "step_lr", "__doc__"])
def test_only_a_scheduler_is_made(name):
    with pytest.raises(ValueError, match="no scheduler is called"):
        scheduler_from_data({"name": name})


def test_a_function_is_its_line():
    assert scheduler_from_data(
        {"name": "LambdaLR", "learning_rate": 0.1, "lr_lambda": {"function": "lambda e: 1"}}
    ).lr_lambda == UnknownFunction("lambda e: 1")
