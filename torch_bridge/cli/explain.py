"""``torch-bridge explain``."""

from typing import Annotated

import typer

from torch_bridge.cli.app import AsJson, RunName, TraceFile, answering, app, load, show
from torch_bridge.translate.explain import explain as explain_recipe
from torch_bridge.translate.recipe_data import recorded_recipe


@app.command()
def explain(
    trace: TraceFile,
    epochs: Annotated[
        int | None, typer.Option(help="How many scheduler.step() the whole run makes; by default as many as recorded.")
    ] = None,
    run: RunName = None,
    as_json: AsJson = False,
) -> None:
    """Print a recorded recipe in funcsgd code and in the nearest plain optax code, and what would differ there.

    Exit status: 0; 2 if there is no such trace, or it holds no recipe that can be translated.
    """
    recorded = load(trace, run)
    with answering():
        recipe = recorded_recipe(recorded.static)
        explanation = explain_recipe(recipe, epochs=epochs or -(-recorded.n_steps // recipe.steps_per_epoch))
    data = {"funcsgd": explanation.funcsgd, "optax": explanation.optax, "differences": list(explanation.differences)}
    if as_json:
        show("", data, as_json)
    else:
        typer.echo(explanation)
