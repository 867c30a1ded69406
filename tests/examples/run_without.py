"""Examples in a fresh interpreter that cannot import some packages."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

PROGRAM = """
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = sys.argv[2:]
sys.meta_path.insert(0, Absent())
runpy.run_path(sys.argv[1], run_name="__main__")
assert not set(absent) & set(sys.modules)
"""


def printed(example, absent):
    """Run an example where some packages are absent and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(EXAMPLES / example), *absent]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
