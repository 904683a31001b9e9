"""The console script: registers the verbs, and gives every error its one shape."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Protocol, runtime_checkable

import typer
from typer.exceptions import TyperException

from coterie import __version__
from coterie.cli import logs
from coterie.cli.common import complete, reflowed
from coterie.errors import CoterieError, UsageError

INTERRUPTED = 130  # 128 and the number of SIGINT, as shells count


def root(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
    verbose: logs.Verbose = False,
    log_format: logs.Format = None,
) -> None:
    """Train recommendation models among companies that do not show each other their data.

    Exit codes: 0 success, 1 internal defect, 2 usage, 3 trust, 4 contract, 5 data, 6 protocol,
    7 run, 130 interrupted, 143 a node was told to end. Errors say what happened, what was
    expected, what was seen and what to do; with --json they are one JSON object on standard
    output, as results are.
    """
    logs.choose(verbose=verbose, form=log_format)
    if version:
        typer.echo(__version__)
        raise typer.Exit


@runtime_checkable
class _Context(Protocol):
    """What the parser's errors know of the command; its class is private to typer."""

    command_path: str

    def get_usage(self) -> str: ...


@cache
def application() -> typer.Typer:
    """The command line with all of its verbs."""
    from coterie.cli import demo, node, run
    from coterie.cli.attest import app as attest
    from coterie.cli.build import app as build
    from coterie.cli.contract import app as contract
    from coterie.cli.doctor import doctor
    from coterie.cli.init import init
    from coterie.cli.model import app as model
    from coterie.cli.prepare import prepare
    from coterie.cli.receipt import app as receipt
    from coterie.cli.report import report
    from coterie.cli.seal import keyserver, seal, seal_key, unseal
    from coterie.cli.serving import evaluate, export, predict
    from coterie.cli.status import status
    from coterie.cli.synthesize import synthesize
    from coterie.cli.tensorflow import app as tensorflow

    app = typer.Typer(
        name="coterie",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )

    app.callback(invoke_without_command=True, help=reflowed(root))(root)
    for panel, commands in (
        ("Start here", (demo.demo, init, doctor)),
        ("Data", (synthesize, prepare, seal, seal_key, unseal, keyserver)),
        ("Training", (run.run, run.local, run.bench, node.node, status)),
        ("Results", (report, evaluate, predict, export)),
    ):
        for command in commands:
            app.command(rich_help_panel=panel)(command)
    for name, panel, group in (
        ("tensorflow", "Training", tensorflow),
        ("model", "Results", model),
        ("receipt", "Trust", receipt),
        ("contract", "Trust", contract),
        ("attest", "Trust", attest),
        ("build", "Trust", build),
    ):
        app.add_typer(group, name=name, rich_help_panel=panel)
    complete(app)
    return app


def main() -> None:
    """Runs the command line; the process's exit code is documented in ``coterie.errors``."""
    # Arrow kernels and TensorFlow print banners on import; users asked for none.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        code = invoke(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        code = _nobody_reads()
    sys.exit(code)


def invoke(arguments: Sequence[str]) -> int:
    """Runs one command; errors are printed in their one shape.

    Args:
        arguments: What stands behind ``coterie``.

    Returns:
        The exit code.

    Raises:
        BrokenPipeError: Nobody reads standard output any more.
    """
    from coterie.cli.console import report

    as_json = "--json" in arguments
    logs.start()
    try:
        code = application()(list(arguments), prog_name="coterie", standalone_mode=False)
    except CoterieError as error:
        return report(error, as_json=as_json)
    except TyperException as error:
        if not error.format_message():  # a group without a verb has shown its help
            return error.exit_code
        return report(_usage(error, arguments), as_json=as_json)
    except typer.Abort:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise BrokenPipeError from error
        raise
    return code if isinstance(code, int) else 0


def _usage(error: TyperException, arguments: Sequence[str]) -> UsageError:
    """What the parser refuses, in the shape of all errors."""
    context: object = getattr(error, "ctx", None)
    path, usage = "coterie", "coterie [OPTIONS] COMMAND [ARGS]..."
    if isinstance(context, _Context):
        path, usage = context.command_path, context.get_usage().removeprefix("Usage: ")
    message = error.format_message().rstrip(".")
    return UsageError(
        message[0].lower() + message[1:],
        expected=" ".join(usage.split()),
        seen=shlex.join(["coterie", *arguments]),
        remedy=f"`{path} --help` tells what there is",
    )


def _nobody_reads() -> int:
    """Ends quietly: Python would complain again when it flushes standard output at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
