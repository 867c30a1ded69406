"""What README shows can be run as it stands."""

import re

import pytest

from tests.support.docs_pages import DOCS, ROOT, extension, python_blocks

walkthrough = extension("walkthrough")
README = (ROOT / "README.md").read_text()


@pytest.mark.thorough
def test_the_port_is_checked_as_the_last_line_says(capsys):
    (block,) = python_blocks(README)
    shown = {}
    exec(compile(block, "README.md", "exec"), shown)
    shown["recorder"].close()
    start, end = block.splitlines()[-1].removeprefix("# ").split(" ... ")
    printed = capsys.readouterr().out.strip()
    assert printed.startswith(start)
    assert printed.endswith(end)


def test_the_training_loop_of_the_first_page_runs(capsys):
    fences = walkthrough.fences((DOCS / "start.md").read_text())
    block = next(content for _, name, _, content in fences if name == "line.py")
    exec(compile(block, "line.py", "exec"), {})
    loss, rate = re.fullmatch(r"loss (\S+), learning rate (\S+)\n", capsys.readouterr().out).groups()
    assert float(loss) < 1e-4
    assert rate == "0.1"


def test_there_are_two_set_up_commands():
    commands = re.findall(r"^python3 -m venv .*$", README, re.M)
    assert len(commands) == 2
    assert commands[0].endswith("pip install . && torch-bridge demo")
    assert commands[1].endswith('pip install -c constraints.txt -e ".[test]" && pytest')


def test_it_is_a_screen_and_a_half():
    assert len(README.splitlines()) <= 100
