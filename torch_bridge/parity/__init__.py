"""Ports checked in pytest: what the fixture `parity` of `torch_bridge.pytest_plugin` does."""
