"""Every planted fault of an update rule."""

from tests.support.planted.averages import AVERAGE
from tests.support.planted.clip import CLIP
from tests.support.planted.decay import DECAY
from tests.support.planted.moments import MOMENTS
from tests.support.planted.momentum import MOMENTUM
from tests.support.planted.numbers import Numbers, Planted
from tests.support.planted.schedule import SCHEDULE

RULES: dict[str, Planted] = {**CLIP, **DECAY, **MOMENTUM, **MOMENTS, **SCHEDULE, **AVERAGE}


def of_recipe(n: Numbers) -> dict[str, Planted]:
    """Those that a recipe can have."""
    return {name: planted for name, planted in RULES.items() if planted.when(n)}
