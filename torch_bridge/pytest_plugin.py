"""pytest's plugin: checks of ports as tests.

The fixture ``parity`` checks a JAX port against a recorded PyTorch run, `torch_bridge.parity.fixture.Parity`::

    def test_port(parity):
        parity.check(parity.golden("mlp", original), optax.sgd(0.1), loss_fn=loss_fn, data=(x, y))

A port that is another function, or imprecise, fails with the verdict's sentence and the tables by phase. The run of the
original is kept beside the test, in ``golden/TEST_FILE/NAME.trace``, so that machines without torch check, too.

Options:

- ``--parity-update`` makes golden traces that are missing, and compares the others with what torch does now.
- ``--parity-replace`` also replaces those that differ; each is named at the end of the run.
- ``--parity-report=DIR`` writes the reports of each test's checks as JSON, one file a test:
  ``{"test": ID, "checks": [report, ...]}``, and each check's page beside it, ``NAME.1.html`` and so on. A file of an
  earlier run stays until its test runs again.

``@pytest.mark.needs_torch`` skips a test, with the reason, where torch cannot be imported.

At the end of a full run, golden traces that no test used are listed. A run of single tests (``file.py::test``), and
files some of whose tests were left out, failed or were skipped, tell nothing about that.

All of it works under pytest-xdist. Neither JAX nor torch is imported before a test asks for ``parity``.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from torch_bridge.parity.golden_files import Usage

if TYPE_CHECKING:
    from torch_bridge.parity.fixture import Parity
    from torch_bridge.parity.golden import Update

_USAGE = pytest.StashKey[Usage]()
_NAME = "torch_bridge_golden_traces"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("parity", "parity of JAX ports with PyTorch (torch_bridge)")
    group.addoption(
        "--parity-update",
        action="store_true",
        help="make golden traces that are missing, with torch; compare the others with what torch does now",
    )
    group.addoption(
        "--parity-replace",
        action="store_true",
        help="like --parity-update, and replace golden traces that differ; the end of the run names each",
    )
    group.addoption(
        "--parity-report",
        metavar="DIR",
        help="write the reports of parity.check into DIR: JSON, one file a test, and a page for each check",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and refuse a report folder that cannot be one."""
    config.addinivalue_line("markers", "needs_torch: skipped where torch cannot be imported")
    config.stash[_USAGE] = Usage(partly=any("::" in argument for argument in config.args))
    config.pluginmanager.register(_Watch(config), _NAME)
    folder = _report_folder(config)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise pytest.UsageError(f"--parity-report={folder} is a file: give a folder, or the name of a new one")


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> "Parity":
    """Check JAX ports against recorded PyTorch runs: ``parity.check(trace, tx, loss_fn=..., data=...)``."""
    from torch_bridge.parity.fixture import Parity

    config, node = request.config, request.node
    update: Update = "replace" if config.option.parity_replace else "update" if config.option.parity_update else ""
    return Parity(node.nodeid, node.path, config.stash[_USAGE], update, _report_folder(config))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs torch where there is none; pytest itself looks at the marks after this."""
    if item.get_closest_marker("needs_torch") and (reason := _why_no_torch()):
        item.add_marker(pytest.mark.skip(reason=reason))


class _Watch:
    """Sees which golden traces the tests use, in this process and in the workers of pytest-xdist."""

    def __init__(self, config: pytest.Config) -> None:
        self._usage = config.stash[_USAGE]

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._usage.deselected.update(str(item.path) for item in items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._usage.collect((item.path, item.nodeid) for item in session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._usage.passed.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        told = getattr(session.config, "workeroutput", None)  # of a worker; it goes to the process that started it
        if told is not None:
            told[_NAME] = self._usage.sent()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._usage.receive(getattr(node, "workeroutput", {}).get(_NAME))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        if self._usage.events:
            terminalreporter.section("golden traces")
            terminalreporter.write("".join(f"{event}\n" for event in sorted(self._usage.events)))
        if unused := self._usage.unused():
            terminalreporter.section("golden traces that no test used")
            for trace in unused:
                near = trace.is_relative_to(config.rootpath)
                terminalreporter.write_line(str(trace.relative_to(config.rootpath) if near else trace))
            terminalreporter.write_line("Delete them, or ask for them in a test with parity.golden.")


def _report_folder(config: pytest.Config) -> Path | None:
    folder = config.option.parity_report
    return None if folder is None else config.invocation_params.dir / folder


def _why_no_torch() -> str:
    try:
        import_module("torch")
    except (ImportError, OSError) as error:  # OSError: one of torch's libraries is missing
        return f"torch cannot be imported: {error}"
    return ""
