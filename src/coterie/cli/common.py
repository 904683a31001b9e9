"""What every command has: added when commands are registered, so that none can lack it.

- ``-v`` and ``--log-format`` may stand before or after the command's name.
- Help is the docstring; its paragraphs wrap at the terminal's width, not at the source's line ends.
"""

from __future__ import annotations

import inspect
from functools import wraps
from typing import Protocol

import typer

from coterie.cli.logs import Format, LogFormat, Verbose, choose


class Verb(Protocol):
    """A command's function."""

    def __call__(self, *arguments: object, **named: object) -> object:
        """Runs it."""
        ...


def complete(app: typer.Typer) -> None:
    """Completes every command of an application and of its groups."""
    for command in app.registered_commands:
        if (verb := command.callback) is not None and "log_format" not in parameters(verb):
            command.help = command.help or reflowed(verb)
            command.callback = _with_log_options(verb)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            complete(group.typer_instance)


def parameters(verb: Verb) -> dict[str, inspect.Parameter]:
    """A command's options and arguments."""
    return dict(inspect.signature(verb, eval_str=True).parameters)


def reflowed(verb: object) -> str:
    """A command's docstring with each paragraph on one line, escaped for rich's markup."""
    paragraphs = (inspect.getdoc(verb) or "").replace("[", r"\[").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _with_log_options(verb: Verb) -> Verb:
    """The command with two more options, which are not passed to it."""

    @wraps(verb)
    def logged(*arguments: object, **named: object) -> object:
        form = named.pop("log_format")
        choose(
            verbose=named.pop("verbose") is True, form=form if isinstance(form, LogFormat) else None
        )
        return verb(*arguments, **named)

    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter("verbose", keyword, default=False, annotation=Verbose),
        inspect.Parameter("log_format", keyword, default=None, annotation=Format),
    ]
    signature = inspect.Signature([*parameters(verb).values(), *more])
    logged.__dict__["__signature__"] = signature
    return logged
