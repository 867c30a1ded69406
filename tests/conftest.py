"""What every test may ask for."""

import gc
import sys

import jax
import pytest

# Thousands of modules and tests live to the end: a full collection among them takes a second, and JAX's tracing would
# set off hundreds. They are left out, and the collector looks for garbage less often.
gc.set_threshold(50_000, 20, 20)

collect_ignore_glob = ["support/scripts/*"]  # to import one is to run it
pytest_plugins = ["pytester"]  # of pytest itself, for the plugin's tests


def pytest_collection_finish():
    """Leave what was imported out of all later collections."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def x64():
    """Let float64 be float64 for one test; the default, float32, is what users have and what doctests see."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def plant(monkeypatch):
    """Replace a function of the library; nothing that was compiled with another one is found again."""

    def replace(name, function):
        jax.clear_caches()
        monkeypatch.setattr(name, function)

    yield replace
    monkeypatch.undo()
    jax.clear_caches()


@pytest.fixture(autouse=True)
def torch_has_its_functions_back():
    """Fail the test that leaves a function of torch replaced, for the tests after it would run with it."""
    yield
    if (patch := sys.modules.get("torch_bridge.recording.patch")) and patch.replaced():
        gc.collect(1)  # recorders that were dropped unclosed, in cycles with the hooks of their optimizers
    if patch and patch.replaced():
        gc.collect()  # older ones, of a fixture
        assert not patch.replaced()
