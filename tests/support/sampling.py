"""Long lists of cases, of which the default run takes a few and the thorough run the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(n: int, values: Iterable[Any]) -> list[Any]:
    """Return values for one argument of ``pytest.mark.parametrize``: every n-th as it is, the others thorough."""
    return [x if i % n == 0 else pytest.param(x, marks=pytest.mark.thorough) for i, x in enumerate(values)]
