"""The console script: registers the commands, and prints all errors in one form."""

from __future__ import annotations

import errno
import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Annotated, Protocol, runtime_checkable

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from coterie import __version__, tensorflow_settings
from coterie.cli import logs
from coterie.cli.common import reflowed
from coterie.cli.lazy import Entry, LazyGroup
from coterie.errors import CoterieError, EnvironmentUnfit, UsageError
from coterie.files import machine_error
from coterie.private_memory import keep_memory_private
from coterie.termination import Terminated, end_in_order

_KEY_HOLDERS = frozenset({"node", "keyserver", "tensorflow"})
_TELLS_ONLY = frozenset({"--help", "--version"})
# Disk errors without a file name: full, over quota, too large, read-only, broken.
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
INTERRUPTED = 130  # 128 plus the number of SIGINT, the shells' convention


def root(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
    verbose: logs.Verbose = False,
    log_format: logs.Format = None,
) -> None:
    """Train recommendation models among companies that do not show each other their data.

    Exit codes: 0 success, 1 internal defect, 2 usage, 3 trust, 4 contract, 5 data, 6 protocol,
    7 run, 130 interrupted, 143 told to end (SIGTERM). Errors say what happened, what was
    expected, what was seen and what to do; with --json they are one JSON object on standard
    output, as results are.
    """
    logs.choose(verbose=verbose, form=log_format)
    if version:
        typer.echo(__version__)
        raise typer.Exit


@runtime_checkable
class _Context(Protocol):
    """The command that the parser's errors refer to; the real class is private to typer."""

    command_path: str

    def get_usage(self) -> str: ...


_VERBS = (
    ("Start here", (
        ("demo", "demo:demo", "Train HFL (server and four companies) and SDT (chief, server, two workers), attested."),
        ("init", "init:init", "Ask a few questions and write a commented, valid contract. Nothing is overwritten."),
        ("doctor", "doctor:doctor", "Report what this machine has of each TEE and what is missing."),
    )),
    ("Data", (
        ("synthesize", "synthesize:synthesize", "Write a synthetic raw file in Criteo's format, whose labels can be learned."),
        ("prepare", "prepare:prepare", "Prepare raw data: split, deal, hash, and write binary files with a manifest."),
        ("seal", "seal:seal", "Seal a prepared data set, so that it may be stored on an untrusted disk."),
        ("seal-key", "seal:seal_key", "Make the key under which a party's trained model is sealed on other parties' machines."),
        ("seal-model", "seal:seal_model", "Seal an open trained model, for a node on another party's host that gives it to a run."),
        ("unseal", "seal:unseal", "Open a sealed trained model, its optimizers' state or variables, on the party's own computer."),
        ("keyserver", "seal:keyserver", "Run a party's key server, on the party's own premises: it vouches and gives keys."),
    )),
    ("Training", (
        ("run", "run:run", "Train: every node of the contract as an attested process on this machine."),
        ("local", "run:local", "Train the same in one process, without attestation: the reference for every run."),
        ("bench", "run:bench", "Train attested and in plaintext in turn; print both and the ratio of their training times."),
        ("paper", "paper:paper", "Repeat the paper's experiment: HFL and SDT, plain and attested, on both engines; one page shows it."),
        ("node", "node:node", "Run one node of a contract; nodes wait for each other, whichever is started first."),
        ("status", "status:status", "Ask a running parameter server, or a TensorFlow node, for its status; this changes nothing."),
        ("tensorflow", "tensorflow:app", "Run a TensorFlow cluster program, attested: any of one owner's, or HFL by between-graph replication."),
    )),
    ("Results", (
        ("report", "report:report", "Make the report of a finished run (again): report.html and its figures, in its directory."),
        ("compare", "compare:compare", "Show finished runs side by side: results, and the hyperparameters in which they differ."),
        ("evaluate", "serving:evaluate", "Measure a trained model on data: AUC, log loss, accuracy, calibration."),
        ("predict", "serving:predict", "Score every row of a raw file; write its line number and click probability."),
        ("export", "serving:export", "Export a trained model for serving: raw cells in, click probabilities out."),
        ("model", "model:app", "A Keras model of your own, for a contract."),
    )),
    ("Trust", (
        ("receipt", "receipt:app", "Verify and show the signed account of a run."),
        ("contract", "contract:app", "Party keys, signatures, and views of a contract."),
        ("attest", "attest:app", "Appraise, explain and collect attestation evidence."),
        ("build", "build:app", "Build images of enclaves and guests, and check manifests."),
    )),
)  # fmt: skip


@cache
def application() -> LazyGroup:
    """The command line of this process."""
    return make_application()


def make_application() -> LazyGroup:
    """Makes a command line with all commands, which are imported when called."""
    app = typer.Typer(
        name="coterie",
        cls=LazyGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback(invoke_without_command=True, help=reflowed(root))(root)
    group = get_command(app)
    assert isinstance(group, LazyGroup)
    for panel, verbs in _VERBS:
        for name, place, summary in verbs:
            group.add_command(Entry(name, place, panel, summary))
    return group


def main() -> None:
    """Runs the command line; the process's exit code is documented in ``coterie.errors``."""
    # Arrow kernels and TensorFlow print banners on import; suppress them.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    _print_what_can_be_printed()
    # Commands set threads from the contract later; programs of others set their own.
    tensorflow_settings.withdraw()
    try:
        end_in_order()
        code = _refused_memory() or invoke(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        code = _nobody_reads()
    except Terminated as told:
        with suppress(OSError):
            sys.stderr.write(f"{told}\n".lower())
        code = told.exit_code
    sys.exit(code)


def invoke(arguments: Sequence[str]) -> int:
    """Runs one command; prints errors in the form of all errors.

    Args:
        arguments: The arguments after ``coterie``.

    Returns:
        The exit code.

    Raises:
        BrokenPipeError: The reader of standard output has closed it.
    """
    as_json = "--json" in arguments
    logs.start()
    try:
        code = application()(list(arguments), prog_name="coterie", standalone_mode=False)
    except CoterieError as error:
        return _report(error, as_json=as_json)
    except TyperException as error:
        if not error.format_message():  # a group without a command has shown its help
            return error.exit_code
        return _report(_usage(error, arguments), as_json=as_json)
    except typer.Abort:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise BrokenPipeError from error
        if error.errno is None or (error.filename is None and error.errno not in _OF_DISKS):
            raise  # not the machine's fault but a defect of the program
        return _report(machine_error("this command cannot go on", error), as_json=as_json)
    return code if isinstance(code, int) else 0


def _report(error: CoterieError, *, as_json: bool) -> int:
    """Prints an error and returns its exit code. Imports the printer only now."""
    from coterie.cli.console import report

    return report(error, as_json=as_json)


def _print_what_can_be_printed() -> None:
    """Makes both outputs print unencodable characters and undecodable bytes as escapes.

    Cells and file names may hold any character; no command may fail because of one.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _refused_memory() -> int:
    """Protects this process's memory for every command, whether or not the command reads a key.

    If the protection is refused, commands that hold keys for long end, and others warn, unless they
    only show help. Returns the exit code of commands that end, otherwise 0.
    """
    try:
        keep_memory_private()
    except EnvironmentUnfit as error:
        if _KEY_HOLDERS & set(sys.argv[1:]):
            return _report(error, as_json="--json" in sys.argv)
        if sys.argv[1:] and not _TELLS_ONLY & set(sys.argv[1:]):
            sys.stderr.write(f"warning: {error}\n")
    return 0


def _usage(error: TyperException, arguments: Sequence[str]) -> UsageError:
    """The parser's error in the form of all errors."""
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
    """Ends quietly; otherwise Python would report the error again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
