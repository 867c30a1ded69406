"""What the tests of torch_bridge have in common."""

import pytest

from torch_bridge import random

FRESH = random.Generator().get_state()


@pytest.fixture(autouse=True)
def default_generator_is_fresh():
    """Put the default generator back: a preflight compares its seed with torch's."""
    random.default_generator.set_state(FRESH)
