"""What README shows can be run as it stands."""

import re
from pathlib import Path

import funcsgd
import torch_bridge

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_training_loop_runs(capsys):
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "funcsgd.sgd(" in b)
    exec(compile(block, "README.md", "exec"), {})
    loss, rate = re.fullmatch(r"loss (\S+), learning rate (\S+)\n", capsys.readouterr().out).groups()
    assert float(loss) < 1e-4
    assert rate == "0.1"


def test_every_name_exists():
    for module in (funcsgd, torch_bridge):
        for name in set(re.findall(rf"\b{module.__name__}\.(\w+)", README)) - {"parity"}:
            assert hasattr(module, name), f"{module.__name__}.{name}"


def test_there_are_two_set_up_commands():
    commands = re.findall(r"^python3 -m venv .*$", README, re.M)
    assert len(commands) == 2
    assert commands[0].endswith("pip install . && torch-bridge demo")
    assert commands[1].endswith('pip install -c constraints.txt -e ".[test]" && pytest')
