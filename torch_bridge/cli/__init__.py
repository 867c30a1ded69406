"""The command line: ``torch-bridge``, a command a file."""

from torch_bridge.cli import check as check
from torch_bridge.cli import convert as convert
from torch_bridge.cli import demo as demo
from torch_bridge.cli import diff as diff
from torch_bridge.cli import explain as explain
from torch_bridge.cli import map as map
from torch_bridge.cli import port as port
from torch_bridge.cli import preflight as preflight
from torch_bridge.cli import record as record
from torch_bridge.cli import show as show
from torch_bridge.cli import why as why
from torch_bridge.cli.app import app as app
from torch_bridge.cli.app import main as main
