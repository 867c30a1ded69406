"""What every test may ask for."""

import jax
import pytest


@pytest.fixture
def x64():
    """Let float64 be float64 for one test; the default, float32, is what users have and what doctests see."""
    with jax.enable_x64(True):
        yield
