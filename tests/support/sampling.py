"""Long lists of cases: the default run takes a few, the thorough run more, the exhaustive run the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(n: int, values: Iterable[Any], thorough: int = 1) -> list[Any]:
    """Return values for one argument of ``pytest.mark.parametrize``: every n-th as it is, the others marked.

    Args:
        n: every n-th is in the default run; 0 for none of them.
        values: the cases.
        thorough: of the others, every so-many-th is thorough and the rest exhaustive.
    """

    def marked(i: int, x: Any) -> Any:
        if n and i % n == 0:
            return x
        return pytest.param(x, marks=pytest.mark.exhaustive if i % thorough else pytest.mark.thorough)

    return [marked(i, x) for i, x in enumerate(values)]
