"""``coterie model``: a Keras model as a contract's ``[model]`` section."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from coterie.cli.options import AsJson
from coterie.errors import ModelUnfit

app = typer.Typer(no_args_is_help=True, help="A Keras model of your own, for a contract.")


@app.command()
def describe(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A .keras file of your own: it is loaded.")
    ],
    as_json: AsJson = False,
) -> None:
    """Print the [model] section of a Keras model, to be pasted into a contract.

    The model takes dense features [batch, numeric] and embedded ids [batch, columns, dim] and gives
    one logit. The contract holds its layers and sizes, not its weights.

    Example: coterie model describe dcn.keras >> contract.toml
    """
    from coterie.models.backend import configure_tensorflow
    from coterie.models.keras_model import describe_model

    configure_tensorflow(1)
    import keras

    try:
        loaded = keras.saving.load_model(model, compile=False, safe_mode=True)
    # Keras documents no exceptions: any of them means that the file is unreadable.
    except Exception as error:
        raise ModelUnfit(
            f"{model} cannot be loaded",
            expected="a Keras model, as model.save('FILE.keras') writes it",
            seen=str(error).split("\n", 1)[0][:200] or type(error).__name__,
            remedy="save the model again with this version of Keras",
        ) from error
    section = describe_model(loaded)
    if as_json:
        typer.echo(json.dumps(section.model_dump(mode="json")))
    else:
        typer.echo(section.to_toml(), nl=False)
