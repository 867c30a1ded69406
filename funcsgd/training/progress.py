"""A line in the terminal with the progress of a run, written from inside the compiled program."""

import sys
from typing import Any


def progress_bar(made: Any, total: int, loss: Any) -> None:
    """Draw one line over itself on standard error; the last one stays.

    Args:
        made: number of updates made.
        total: number of updates in the whole run.
        loss: of the last one.

    Example:
        >>> import contextlib, io
        >>> with contextlib.redirect_stderr(io.StringIO()) as shown:
        ...     progress_bar(50, 200, 0.125)
        >>> shown.getvalue().strip()
        '25% |#######                       | 50/200 updates, loss 0.125'
    """
    made = int(made)
    line = f"{made / total:4.0%} |{'#' * (30 * made // total):30}| {made}/{total} updates, loss {float(loss):.6g}"
    print(f"\r{line:<78}", end="\n" if made == total else "", file=sys.stderr, flush=True)
