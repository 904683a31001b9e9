"""The console script: registers the verbs and gives errors of the tree their one shape."""

from __future__ import annotations

import os
import sys

import typer

from coterie import __version__
from coterie.errors import CoterieError

app = typer.Typer(
    name="coterie",
    help="Train recommendation models among companies that do not show each other their data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and end."),
) -> None:
    """Train recommendation models among companies that do not show each other their data.

    Exit codes: 0 success, 1 internal defect, 2 usage, 3 trust, 4 contract, 5 data, 6 protocol, 7 run.
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit


def register() -> None:
    """Adds every verb to the application."""
    from coterie.cli import demo, node, run
    from coterie.cli.attest import app as attest
    from coterie.cli.build import app as build
    from coterie.cli.contract import app as contract
    from coterie.cli.doctor import doctor
    from coterie.cli.model import app as model
    from coterie.cli.prepare import prepare
    from coterie.cli.receipt import app as receipt
    from coterie.cli.report import report
    from coterie.cli.seal import keyserver, seal, seal_key, unseal
    from coterie.cli.serving import evaluate, export, predict
    from coterie.cli.status import status
    from coterie.cli.synthesize import synthesize

    app.command()(synthesize)
    app.command()(prepare)
    app.command()(seal)
    app.command()(seal_key)
    app.command()(unseal)
    app.command()(keyserver)
    app.command()(run.run)
    app.command()(run.local)
    app.command()(run.bench)
    app.command()(evaluate)
    app.command()(predict)
    app.command()(export)
    app.command()(node.node)
    app.command()(demo.demo)
    app.command()(report)
    app.command()(doctor)
    app.command()(status)
    app.add_typer(contract, name="contract")
    app.add_typer(model, name="model")
    app.add_typer(attest, name="attest")
    app.add_typer(build, name="build")
    app.add_typer(receipt, name="receipt")


def main() -> None:
    """Runs the command line; the process's exit code is documented in ``coterie.errors``."""
    # Arrow kernels and TensorFlow print banners on import; users asked for none.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    register()
    try:
        app()
    except CoterieError as error:
        from coterie.cli.console import report

        sys.exit(report(error, as_json="--json" in sys.argv))
