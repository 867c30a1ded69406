"""What the tests of verdicts have in common."""

import pytest

from torch_bridge.judge.preflight.finding import Preflight


@pytest.fixture
def verdict_alone(monkeypatch):
    """Leave out the preflight and the search for causes: they are no part of the verdict, and have their own tests."""
    monkeypatch.setattr("torch_bridge.judge.check.preflight", lambda *args, **options: Preflight())
    monkeypatch.setattr("torch_bridge.judge.check.explained", lambda report, *args: report)
