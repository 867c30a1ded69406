"""A Python script run within this process as ``python script.py`` runs it."""

import contextlib
import os
import runpy
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch_bridge.recording.warned_place import frames_left_out


def run_script(script: str, arguments: Sequence[str]) -> int:
    """Run a script as ``__main__``, and return its exit status.

    Args:
        script: its path.
        arguments: what follows it in ``sys.argv``.

    Returns:
        0, or what it gave to ``sys.exit``; 1 after an exception, whose traceback is printed; 130 if it was interrupted.
    """
    with _surroundings(script, arguments):
        try:
            with frames_left_out():
                runpy.run_path(script, run_name="__main__")
        except SystemExit as leaving:
            return _status(leaving.code)
        except BaseException as error:
            _take_out_own_frames(error)
            sys.excepthook(type(error), error, error.__traceback__)
            return 130 if isinstance(error, KeyboardInterrupt) else 1
        finally:
            with contextlib.suppress(OSError, ValueError):  # the script may have closed it
                sys.stdout.flush()
    return 0


@contextlib.contextmanager
def _surroundings(script: str, arguments: Sequence[str]) -> Iterator[None]:
    argv, path = sys.argv, list(sys.path)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return int(code or 0)
    print(code, file=sys.stderr)
    return 1


_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def _take_out_own_frames(error: BaseException) -> None:
    """Leave in a traceback, and in those of its causes, what ``python script.py`` would show."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        left += [each.__cause__, each.__context__]
        kept, place = [], each.__traceback__
        while place is not None:
            frame = place.tb_frame
            if not frame.f_code.co_filename.startswith(_OWN) and frame.f_globals.get("__name__") != "runpy":
                kept.append(place)
            place = place.tb_next
        trail = None
        for place in reversed(kept):
            trail = types.TracebackType(trail, place.tb_frame, place.tb_lasti, place.tb_lineno)
        each.__traceback__ = trail
