"""What is proposed has passed; of several causes all are mended together; nothing is proposed otherwise."""

import pytest
from typer.testing import CliRunner

from tests.support.broken_ports import BROKEN
from tests.support.small_run import recorded
from torch_bridge.cli import app
from torch_bridge.fixes.proof import MOST, with_edits
from torch_bridge.judge.causes.cause import Cause
from torch_bridge.judge.causes.edit import edited
from torch_bridge.judge.report import Report

TEXT = "RATE, DECAY = 0.2, 0.02\nAGAIN = 0.02\n\n\ndef loss(x):\n    return x.sum()\n"
DECAY = Cause("decay-doubled", "decay", "", "", {"torch": 0.01})
SUM = Cause("loss-summed", "loss", "", "")
RIGHT = TEXT.replace("DECAY = 0.2, 0.02", "DECAY = 0.2, 0.01").replace("sum", "mean")


@pytest.fixture(scope="module")
def trace():
    return recorded()


def proposed(trace, causes, passes):
    report = Report("different", 6, causes=tuple(causes))
    return with_edits(report, "port.py", TEXT, {}, trace, passes).causes


def test_the_change_that_passes_is_proposed(trace):
    tried = []

    def passes(text):
        tried.append(text)
        return text == RIGHT

    decay, total = proposed(trace, [DECAY, SUM], passes)
    assert edited(TEXT, (*decay.edits, *total.edits)) == RIGHT
    assert tried[-1] == RIGHT
    assert len(tried) == len(set(tried)) == 1  # of two places the first is the likelier


def test_where_nothing_passes_the_fix_stays_a_sentence(trace):
    tried = []
    assert proposed(trace, [DECAY, SUM], tried.append) == (DECAY, SUM)
    assert 1 < len(tried) <= MOST
    assert proposed(trace, [Cause("a-cause-of-another-version", "", "", "")], bool) != ()


def test_of_several_causes_all_are_needed(trace):
    """A cause for which nothing in the file can be changed leaves the others unproved."""
    outside = Cause("average-still", "average", "", "")
    assert proposed(trace, [DECAY, outside], lambda text: True) == (DECAY, outside)


@pytest.mark.thorough
def test_a_rule_that_is_imported_is_no_text_to_change(tmp_path):
    BROKEN["decay_masked"].run().save(tmp_path / "run.trace")
    text = "from tests.support.ports.broken.decay_masked import port as made\n\n\ndef port():\n    return made()\n"
    (tmp_path / "own.py").write_text(text)
    result = CliRunner().invoke(app, ["check", str(tmp_path / "run.trace"), str(tmp_path / "own.py"), "--fix"])
    assert result.exit_code == 1
    assert "no change of the port's file was found that passes" in result.stderr
    assert "fix: weight_decay=0.01 without a mask" in result.stdout
    assert (tmp_path / "own.py").read_text() == text
