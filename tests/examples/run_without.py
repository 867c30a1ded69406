"""Examples in a fresh interpreter that cannot import some packages."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

# Every finder overlooks the absent packages, so that an import fails and importlib.util.find_spec answers None.
PROGRAM = """
import runpy, sys
absent = sys.argv[2:]

class Overlooking:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Overlooking, sys.meta_path)
runpy.run_path(sys.argv[1], run_name="__main__")
assert not set(absent) & set(sys.modules)
"""


def printed(example, absent):
    """Run an example where some packages are absent and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(EXAMPLES / example), *absent]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
