"""The fixture `parity`: a port is checked in a test, and the test fails with the diagnosis."""

import hashlib
import io
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from torch_bridge.files import write_whole
from torch_bridge.judge.check import check
from torch_bridge.judge.report import Report
from torch_bridge.parity.golden import GoldenError, Record, Update, checked_name, golden
from torch_bridge.parity.golden_files import Usage, golden_path
from torch_bridge.recording.recorder import Recorder
from torch_bridge.render.html import render_html
from torch_bridge.render.json import write_json
from torch_bridge.render.text import render_report
from torch_bridge.trace.trace import Trace


class Parity:
    """What a test is given as ``parity``; see `torch_bridge.pytest_plugin`.

    Attributes:
        reports: the reports of this test's checks so far.
    """

    def __init__(self, test: str, file: Path, usage: Usage, update: Update = "", folder: Path | None = None) -> None:
        """Serve one test.

        Args:
            test: its id.
            file: the file it is in.
            usage: where it is noted which golden traces are used.
            update: which golden traces may be written.
            folder: where reports are written; None writes none.
        """
        self.reports: list[Report] = []
        self._test = test
        self._file = file
        self._usage = usage
        self._update = update
        self._folder = folder

    def check(self, recorded: Trace | Recorder | str | os.PathLike[str], tx: Any = None, **options: Any) -> Report:
        """Check a JAX port against a recorded PyTorch run, and fail the test if it is different or imprecise.

        Args:
            recorded: the recorded run: a trace, the recorder of `torch_bridge.record`, or a file's path.
            tx: the JAX rule, any optax transformation.
            options: ``loss_fn``, ``data``, ``weights`` and all other keywords of `torch_bridge.check`.

        Returns:
            The `Report` of a port that is the same function, for further assertions.

        Raises:
            pytest.fail.Exception: the port is different or, unless ``allow_imprecise=True``, imprecise; its text is
                the verdict's sentence and the tables by phase.
            TypeError: ``recorded`` is none of these, or a keyword is unknown.
            FileNotFoundError: there is no such file.

        Exactness: that of `torch_bridge.check`; the fixture adds no tolerance.

        Example::

            def test_port(parity):
                parity.check("run.trace", optax.sgd(0.1), loss_fn=loss_fn, data=(x, y))
        """
        __tracebackhide__ = True
        report = check(_trace(recorded), tx, **options)
        self.reports.append(report)
        written = self._write()
        if not report.ok:
            pytest.fail("\n".join([_text(report), *written]), pytrace=False)
        return report

    def golden(self, name: str, record: Record) -> Trace:
        """Return a golden trace that lies beside the test file, and make it if ``--parity-update`` was given.

        It is the file ``golden/TEST_FILE/NAME.trace``. Without an option it is loaded, and torch is not needed. With
        ``--parity-update`` the original runs: a missing trace is made, and one that is there is compared with the new
        run and never written; with ``--parity-replace`` it is replaced if it differs, and the end of the run says so.

        Args:
            name: of letters, digits, ``_``, ``-`` and ``.``; the same name in another test file is another trace.
            record: runs the PyTorch original and returns its recorder or trace; let it import torch by itself.

        Returns:
            The trace.

        Raises:
            pytest.fail.Exception: the trace is missing, damaged, or not what torch does now; the text has the command
                that mends it.
            ValueError: the name is not fit for a file.

        Example::

            def original():
                import torch
                model = torch.nn.Linear(3, 1)
                with torch_bridge.record(model, torch.optim.SGD(model.parameters(), lr=0.1)) as recorder:
                    train(model)
                return recorder

            def test_port(parity):
                parity.check(parity.golden("linear", original), optax.sgd(0.1), loss_fn=loss_fn, data=(x, y))
        """
        __tracebackhide__ = True
        path = golden_path(self._file, checked_name(name))
        self._usage.used.add(str(path))
        try:
            return golden(path, record, self._update, f"pytest {shlex.quote(self._test)}", self._usage.events.append)
        except GoldenError as error:
            text = str(error)
        pytest.fail(text, pytrace=False)

    def _write(self) -> list[str]:
        """Write the reports of this test anew, as one file and a page for each check; say where."""
        if self._folder is None:
            return []
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / report_name(self._test)
        write_json({"test": self._test, "checks": [report.to_dict() for report in self.reports]}, path)
        page = path.with_suffix(f".{len(self.reports)}.html")
        write_whole(page, render_html(self.reports[-1]).encode())
        return [f"report: {path}", f"page: {page}"]


def report_name(test: str) -> str:
    """Return the file's name for a test id: readable, valid on every system, and different for different ids."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", test)[-150:].strip("_")
    return f"{readable}-{hashlib.sha256(test.encode()).hexdigest()[:8]}.json"


def _trace(recorded: Any) -> Trace:
    if isinstance(recorded, Trace):
        return recorded
    if isinstance(recorded, Recorder):
        return recorded.trace()
    if not isinstance(recorded, str | os.PathLike):
        raise TypeError(
            f"parity.check got {recorded!r}: give the recorded PyTorch run, as a Trace, as the recorder of "
            "torch_bridge.record, or as the path of a trace"
        )
    if not Path(recorded).exists():
        raise FileNotFoundError(
            f"there is no trace {recorded} (seen from {Path.cwd()}): write it with recorder.save(path), or let "
            "parity.golden(name, record) keep it beside the test"
        )
    return Trace.load(recorded)


def _text(report: Report) -> str:
    """The report as plain text that is as wide as it needs to be."""
    out = io.StringIO()
    Console(file=out, color_system=None, width=1000, highlight=False).print(render_report(report), soft_wrap=True)
    text = out.getvalue().strip()  # the sentence first, which pytest's summary repeats
    return "\n".join(line.rstrip() for line in text.splitlines())
