"""The page of causes, made from the catalogue: every entry with what it is, its fix, and an anchor of its name."""

from itertools import groupby

from torch_bridge.cli.why import as_data
from torch_bridge.judge.causes.catalogue import CATALOGUE


def page() -> str:
    """Return the entries as MyST, family by family, in the causal order of a training step."""
    lines: list[str] = []
    for family, entries in groupby(CATALOGUE.values(), key=lambda entry: entry.family):
        lines += [f"## {family.capitalize()}", ""]
        for entry in entries:
            data = as_data(entry)
            number = f" The number that is fitted: {_escaped(str(data['fits']))}." if data["fits"] else ""
            lines += [
                f"(cause-{entry.name})=",
                f"### {entry.name}",
                "",
                _escaped(entry.does) + number,
                "",
                "```text",
                str(data["fix"]),
                "```",
                "",
            ]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """The text as MyST shows it literally."""
    return "".join(f"\\{c}" if c in "*_`<>[]$\\|" else c for c in text)
