"""``torch-bridge convert``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from torch_bridge import checkpoint
from torch_bridge.checkpoint.replacement import require_free
from torch_bridge.cli.app import answering, app
from torch_bridge.cli.port_file import load_port
from torch_bridge.weights import map_weights


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A .pt or .safetensors file, or an orbax folder.")],
    target: Annotated[Path, typer.Argument(help="What to write: likewise, by its name; a folder has no suffix.")],
    port: Annotated[
        str | None,
        typer.Option(
            help="Between a torch checkpoint and a JAX run: a Python file, or module:function, whose function takes "
            "the torch checkpoint, or nothing, and returns a dict with tx, and weights, or params and overrides, where "
            "the JAX parameters are no dict by torch's names."
        ),
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="From a JAX run to torch: the torch checkpoint whose form the result takes.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="part=key, where a part of the torch checkpoint is; part= leaves it out.")
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            help="The optimizer's parameters in the order in which the script gave them: a,b,c; groups a,b;c."
        ),
    ] = None,
    steps_per_epoch: Annotated[int, typer.Option(help="optimizer.step() between two scheduler.step().")] = 1,
    steps_done: Annotated[
        int | None, typer.Option(help="optimizer.step() made so far; by default from the file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Convert a checkpoint from one format to another, bit for bit, or with --port from torch to JAX and back.

    Nothing in a file is executed, and the result appears whole or not at all. Exit status: 0; 2 if it could not be
    converted.
    """
    with answering():
        require_free(target, force)
        if port is None:
            checkpoint.write(target, checkpoint.read(source), force=force)
            typer.echo(f"{target}: the content of {source}")
            return
        parts = [each.partition("=") for each in key or ()]
        found = checkpoint.load(
            like or source,
            keys={part: where or None for part, _, where in parts},
            names=None if names is None else [group.split(",") for group in names.split(";")],
        )
        typer.echo(f"{like or source}: {found}")
        given = load_port(port, found)
        if "tx" not in given:
            raise ValueError(f"{port} gives no tx: add the rule of the whole run to the dict it returns")
        if like is None:
            weights = _weights(found, given)
            params, state = found.to_jax(given["tx"], weights, steps_per_epoch=steps_per_epoch, steps_done=steps_done)
            numbers = {part: found.part(part) for part in ("epoch", "step") if part in found.keys}
            checkpoint.save(target, params, state, force=force, **numbers)
            typer.echo(f"{target}: params, opt_state{''.join(f', {part}' for part in numbers)}")
            return
        run = checkpoint.restore(source, given["tx"], given.get("params"))
        numbers = {part: run.beside[part] for part in ("epoch", "step") if part in run.beside and part in found.keys}
        back = found.from_jax(run.params, run.opt_state, _weights(found, given), **numbers)
        checkpoint.write(target, back.content, force=force)
        typer.echo(f"{target}: as {like}")


def _weights(found: checkpoint.Checkpoint, given: dict[str, Any]) -> Any:
    if "weights" in given or "params" not in given:
        return given.get("weights")
    return map_weights(found.model, given["params"], overrides=given.get("overrides"))
