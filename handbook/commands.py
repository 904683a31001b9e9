"""The command tree as data: for the reference page, and for tests of what all verbs have in common."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import typer
from rich.text import Text
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from coterie.cli.main import application

# Where a command ends and the shell's own words begin.
_SHELL = re.compile(r"\s(?:\d?>|<|\||&&|;|&$)")


@dataclass(frozen=True)
class Parameter:
    """An option or argument of a verb.

    Attributes:
        spellings: ``--option`` and ``-o``; an argument's own name.
        kind: What it takes, as ``--help`` shows it; empty for switches.
        required: Whether it has to be given.
        repeatable: Whether it may be given more than once.
        default: Its default; empty if there is none.
        help: What it means.
        opposite: How a switch that is on unless it is said otherwise is turned off; else empty.
    """

    spellings: tuple[str, ...]
    kind: str
    required: bool
    repeatable: bool
    default: str
    help: str
    opposite: str = ""

    @property
    def is_option(self) -> bool:
        """Whether it is an option; else an argument."""
        return self.spellings[0].startswith("-")


@dataclass(frozen=True)
class Verb:
    """A command that does something, as opposed to a group of such.

    Attributes:
        words: ``coterie`` and the verb's words.
        summary: The help's first paragraph.
        paragraphs: Those between it and the example.
        example: A command line; empty if the help has none.
        parameters: Without those that are hidden, and without ``--help``.
    """

    words: tuple[str, ...]
    summary: str
    paragraphs: tuple[str, ...]
    example: str
    parameters: tuple[Parameter, ...]

    @property
    def name(self) -> str:
        """The verb as it is typed."""
        return " ".join(self.words)

    def __str__(self) -> str:
        return self.name

    def option(self, spelling: str) -> Parameter | None:
        """The option that is spelled so."""
        return next((one for one in self.parameters if spelling in one.spellings), None)


@cache
def root() -> TyperGroup:
    """The application as the parser has it."""
    command = application()
    command.load_all()
    return command


@cache
def verbs() -> tuple[Verb, ...]:
    """Every verb, in the order of ``--help``."""
    return tuple(_verb(words, command) for words, command in _leaves(("coterie",), root()))


def groups() -> dict[str, str]:
    """Groups of verbs, and what they say of themselves."""
    found = {}
    for name, command in root().commands.items():
        if isinstance(command, TyperGroup):
            found[f"coterie {name}"] = command.help or ""
    return found


def misuse(line: str) -> str | None:
    """What is wrong with a command line; None if the verb and all of its options exist.

    Values are not looked at: files need not exist.

    Args:
        line: A command line that starts with ``coterie``; what the shell does with it is left out.
    """
    words = shlex.split(_SHELL.split(line)[0], comments=True)
    command: object = root()
    rest = words[1:]
    while rest and rest[0] in {"-v", "--verbose"}:
        rest = rest[1:]
    while isinstance(command, TyperGroup):
        if not rest or rest[0] in {"--help", "--version"} or "completion" in rest[0]:
            return None
        if rest[0] not in command.commands:
            return f"no verb {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    assert isinstance(command, TyperCommand)
    if "--help" in rest:
        return None
    return _misused(command, rest)


def _misused(command: TyperCommand, rest: Sequence[str]) -> str | None:
    context = typer.Context(command)
    try:
        values, left, _ = command.make_parser(context).parse_args(list(rest))
    except TyperException as error:
        return error.format_message()
    if left:
        return f"too much: {' '.join(left)}"
    for parameter in command.params:
        if parameter.required and values.get(str(parameter.name)) is None:
            return f"{parameter.opts[0]} is missing"
    return None


def _leaves(
    words: tuple[str, ...], command: object
) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from _leaves((*words, name), child)
    else:
        assert isinstance(command, TyperCommand)
        if not command.hidden:
            yield words, command


def _verb(words: tuple[str, ...], command: TyperCommand) -> Verb:
    paragraphs = [paragraph.strip() for paragraph in plain(command.help or "").split("\n\n")]
    examples = [
        text.removeprefix("Example: ") for text in paragraphs if text.startswith("Example:")
    ]
    paragraphs = [text for text in paragraphs if not text.startswith("Example:")]
    context = typer.Context(command)
    return Verb(
        words,
        paragraphs[0],
        tuple(paragraphs[1:]),
        examples[-1] if examples else "",
        tuple(_parameter(one, context) for one in command.params if not _hidden(one)),
    )


def _hidden(parameter: object) -> bool:
    return isinstance(parameter, TyperOption | TyperArgument) and parameter.hidden


def _parameter(parameter: object, context: typer.Context) -> Parameter:
    assert isinstance(parameter, TyperOption | TyperArgument)
    switch = isinstance(parameter, TyperOption) and parameter.is_flag
    option = isinstance(parameter, TyperOption)
    kind = parameter.metavar or parameter.display_type(context)
    return Parameter(
        tuple(parameter.opts) if option else (parameter.metavar or parameter.opts[0].upper(),),
        "" if switch else re.sub(r"list\[(.*)\]", r"\1", kind),
        parameter.required,
        (isinstance(parameter, TyperOption) and parameter.multiple) or parameter.nargs != 1,
        _default(parameter),
        plain(parameter.help or ""),
        "".join(parameter.secondary_opts),
    )


def _default(parameter: TyperOption | TyperArgument) -> str:
    if isinstance(parameter, TyperOption) and parameter.is_flag:
        return parameter.opts[0] if parameter.default is True else ""
    return "" if parameter.default is None else str(parameter.default)


def plain(markup: str) -> str:
    """What rich shows of a help text."""
    return Text.from_markup(markup).plain
