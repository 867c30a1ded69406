"""Warnings of torch's functions name the line of the script, also where a listener stands between the two."""

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep


@contextlib.contextmanager
def frames_left_out() -> Iterator[None]:
    """Let ``warnings.warn`` not count the frames of this package within its ``stacklevel``."""
    own = warnings.warn

    @functools.wraps(own)
    def warn(message: Any, category: Any = None, stacklevel: int = 1, source: Any = None, **options: Any) -> None:
        # stacklevel=1 is the caller of warn, here one frame further up
        own(message, category, _level(stacklevel) + 1, source, **options)

    warnings.warn = warn
    try:
        yield
    finally:
        if warnings.warn is warn:
            warnings.warn = own


def _level(stacklevel: int) -> int:
    """The level, counted from the caller of ``warn``, of what is so many levels away without this package's frames."""
    frame, level, left = sys._getframe(2), 1, stacklevel
    while left > 1 or frame.f_code.co_filename.startswith(_OWN):
        left -= not frame.f_code.co_filename.startswith(_OWN)
        if frame.f_back is None:
            break
        frame, level = frame.f_back, level + 1
    return level
