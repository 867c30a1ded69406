"""The state of a stream, as text for JSON."""

import base64

from torch_bridge.random import State, from_bytes, to_bytes


def packed(state: State) -> str:
    """Write a stream's 5056 bytes as text."""
    return base64.b64encode(to_bytes(state).tobytes()).decode("ascii")


def unpacked(text: str) -> State:
    """Read what `packed` wrote."""
    return from_bytes(base64.b64decode(text))
