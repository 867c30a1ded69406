"""The smallest error of each constant that a check finds: powers of ten, relative to the constant itself.

Learning rate, momentum and decay stand in plain optax rules, which hold them in float32; the constants of the network
in the loss, which is evaluated in float64.
"""

import torch

import torch_bridge
from tests.support.ports.families import FAMILIES
from tests.support.ports.rules import RECIPES
from tests.support.ports.runs import diagnosed, recorded

NETWORK = {
    "epsilon of BatchNorm": ("convolutions", "epsilon"),
    "factor of the logits": ("perceptron", "logits"),
    "factor of the loss": ("perceptron", "loss"),
    "label smoothing, where torch has none": ("perceptron", "smoothing"),
}


def smallest(found: dict[int, bool]) -> str:
    """The last power of ten, going down, up to which every error was found."""
    last = None
    for exponent in sorted(found, reverse=True):
        if not found[exponent]:
            break
        last = exponent
    return "none" if last is None else f"1e{last}"


def of_network(family: str, option: str) -> str:
    trace, data = recorded(FAMILIES[family], 0, steps=1)
    found = {}
    for exponent in range(-4, -13, -2):
        value = 10.0**exponent if option == "smoothing" else 1 + 10.0**exponent
        report = diagnosed(trace, data, FAMILIES[family].port(**{option: value}))
        found[exponent] = report.verdict == "different" and report.difference.step == 0
        if not found[exponent]:
            break
    return smallest(found)


def of_rule(constant: str) -> str:
    recipe = RECIPES["clip, momentum, decay"]
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 5)
    rules = recipe.torch(model.parameters())
    with torch_bridge.record(model, rules.optimizer, clip={"max_norm": rules.max_norm}) as recorder:
        for _ in range(3):
            rules.optimizer.zero_grad()
            (model(torch.randn(7, 6)) ** 2).mean().backward()
            rules.step()
    found = {}
    for exponent in range(-2, -9, -1):
        report = torch_bridge.check(recorder.trace(), recipe.optax(recipe.wrong(10.0**exponent)[constant]))
        found[exponent] = report.verdict == "different"
    return smallest(found)


def main() -> None:
    print("| constant | smallest error found |\n|---|---|")
    for constant in RECIPES["clip, momentum, decay"].wrong(1.0):
        print(f"| {constant.replace('_', ' ')} of plain optax | {of_rule(constant)} |", flush=True)
    for name, (family, option) in NETWORK.items():
        print(f"| {name} | {of_network(family, option)} |", flush=True)


if __name__ == "__main__":
    main()
