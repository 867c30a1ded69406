"""Changes of a port's file that are proved: the changed file passes the check."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from torch_bridge.fixes.facts import Facts
from torch_bridge.fixes.source import Change, Source
from torch_bridge.fixes.table import changes
from torch_bridge.judge.causes.catalogue import CATALOGUE
from torch_bridge.judge.causes.edit import edits_between
from torch_bridge.judge.report import Report
from torch_bridge.trace.trace import Trace

MOST = 24
"""So many changed files are checked at most."""

Passes: TypeAlias = Callable[[str], bool]
"""From the text of a changed file to whether the port that it makes passes."""


def with_edits(report: Report, path: str, text: str, module: Mapping[str, Any], trace: Trace, passes: Passes) -> Report:
    """Return a report whose causes have the changes of the port's file that mend it.

    Each cause's fix is sought where it could be in the file; of several causes all have to be mended before the file
    can pass. What is proposed has passed.

    Args:
        report: of a port that did not pass, with its causes.
        path: the port's file.
        text: its text.
        module: the names of the module that it makes.
        trace: the recorded run.
        passes: checks a changed text.
    """
    causes = report.causes
    if not causes or any(cause.name not in CATALOGUE for cause in causes):
        return report
    source = Source(text, module)
    found = [list(itertools.islice(changes(source, Facts(c, CATALOGUE[c.name], trace)), MOST)) for c in causes]
    for chosen in itertools.islice(_together(found), MOST):
        changed = source.changed(tuple(dict.fromkeys(itertools.chain(*chosen))))
        if passes(changed):
            made = [edits_between(path, text, source.changed(change)) for change in chosen]
            causes = tuple(replace(cause, edits=edits) for cause, edits in zip(causes, made, strict=True))
            return replace(report, causes=causes)
    return report


def _together(found: list[list[Change]]) -> Iterator[tuple[Change, ...]]:
    """One change for each cause, the likeliest first, where they do not touch each other."""
    ranked = sorted(
        itertools.product(*(range(len(changes)) for changes in found)), key=lambda places: (sum(places), places)
    )
    for places in ranked:
        chosen = tuple(changes[place] for changes, place in zip(found, places, strict=True))
        pieces = sorted(dict.fromkeys(piece for change in chosen for piece in change))
        if all(one[1] <= other[0] for one, other in itertools.pairwise(pieces)):
            yield chosen
