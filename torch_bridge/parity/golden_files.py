"""Where golden traces lie, and which of them no test used. Light: pytest imports it at its start."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = "golden"


def golden_path(test_file: Path, name: str) -> Path:
    """Return where a golden trace of a test file lies: ``tests/golden/test_model/NAME.trace`` of tests/test_model.py.

    They lie beside the test, so that both move and are reviewed together; in a folder of the test file's own, so that
    two files may use one name and it is known whose traces they are; and as files of their own, since they are binary.
    """
    return test_file.parent / FOLDER / test_file.stem / f"{name}.trace"


@dataclass
class Usage:
    """What the tests of one process did with golden traces.

    Attributes:
        collected: the tests by file, of files that may have golden traces.
        deselected: the files some of whose tests were left out.
        passed: the ids of the tests that came to their end and passed.
        used: the golden traces that a test asked for.
        events: sentences on the files that were made or replaced.
        partly: nothing is known of the whole: single tests were named, or a worker was lost.
    """

    collected: dict[str, list[str]] = field(default_factory=dict)
    deselected: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)
    partly: bool = False

    def collect(self, tests: Iterable[tuple[Path, str]]) -> None:
        """Note the tests that will run, by file and id, where there are golden traces beside the file."""
        beside: dict[Path, bool] = {}
        for file, test in tests:
            if beside.setdefault(file.parent, (file.parent / FOLDER).is_dir()):
                self.collected.setdefault(str(file), []).append(test)

    def sent(self) -> dict[str, Any]:
        """Return what a worker tells the process that started it, of plain types; that one knows who passed."""
        return {
            "collected": self.collected,
            "deselected": sorted(self.deselected),
            "used": sorted(self.used),
            "events": self.events,
        }

    def receive(self, sent: dict[str, Any] | None) -> None:
        """Add what a worker tells; None if it was lost."""
        if sent is None:
            self.partly = True
            return
        self.collected |= sent["collected"]
        self.deselected |= set(sent["deselected"])
        self.used |= set(sent["used"])
        self.events += sent["events"]

    def unused(self) -> list[Path]:
        """Return the golden traces that no test used, as far as that is known.

        It is known of a test file all of whose tests were collected, ran and passed (one that failed or was skipped
        might have used a trace), and of a folder whose test file is gone.
        """
        if self.partly:
            return []
        files = {Path(file): tests for file, tests in self.collected.items()}
        traces: set[Path] = set()
        for file, tests in files.items():
            if str(file) not in self.deselected and self.passed.issuperset(tests):
                traces.update((file.parent / FOLDER / file.stem).glob("*.trace"))
        for folder in {file.parent for file in files}:
            for owned in (folder / FOLDER).iterdir():
                if owned.is_dir() and not (folder / f"{owned.name}.py").exists():
                    traces.update(owned.glob("*.trace"))
        return sorted(trace for trace in traces if str(trace) not in self.used)
