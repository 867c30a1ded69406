"""Pages that are walked through work for a stranger: their files and commands alone, in an empty folder, in order."""

import re

import pytest

from tests.support.docs_pages import DOCS, extension

walkthrough = extension("walkthrough")


def walked(page, folder):
    """Carry out a page; the session of each of its fences, and how often each kind came."""
    walk, sessions = walkthrough.Walk(folder), []
    for kind, argument, options, content in walkthrough.fences((DOCS / page).read_text()):
        if kind == "file":
            walk.write(argument, content)
        else:
            sessions.append(walk.run(content, int(options.get("status", 0))))
    return sessions


@pytest.mark.exhaustive  # the site's build runs the same page
def test_a_stranger_ports_a_script(tmp_path):
    sessions = walked("port.md", tmp_path)
    first, fixing, last = (session for session in sessions if "torch-bridge check" in session)
    assert "cause: the constant 1e-06 is 1e-05 in torch" in first
    assert "the norm is divided by as it is; torch adds 1e-6 to it" in first
    assert "+    funcsgd.clip_grad_norm(1.0)," in fixing
    assert "\nthe same function: " in last
    assert (tmp_path / "report" / "report.html").exists()
    assert (tmp_path / "report" / "reproduce.py").exists()


@pytest.mark.exhaustive  # the site's build runs the same page
def test_a_stranger_starts(tmp_path):
    line, demo = walked("start.md", tmp_path)
    assert re.search(r"loss \d\.\de-0[5-9]", line)
    assert "cause: the labels are smoothed by 1e-05 more than torch's" in demo


def test_fences_are_found():
    page = "a\n```{file} a.py\nx = 1\n\ny = 2\n```\n```{terminal}\n:status: 1\nfalse\n```\n```sh\nls\n```\n"
    assert list(walkthrough.fences(page)) == [
        ("file", "a.py", {}, "x = 1\n\ny = 2\n"),
        ("terminal", "", {"status": "1"}, "false\n"),
    ]


def test_a_command_that_fails_is_not_passed_over(tmp_path):
    walk = walkthrough.Walk(tmp_path)
    walk.write("a.txt", "one\n")
    assert walk.run("cat a.txt\ntest -d a.txt", status=1) == "$ cat a.txt\none\n$ test -d a.txt"
    with pytest.raises(RuntimeError, match=r"'false' ended with status 1, not 0"):
        walk.run("false\ntrue")
    with pytest.raises(RuntimeError, match=r"'true' ended with status 0, not 1"):
        walk.run("true", status=1)
