"""A group that lists its commands without importing them, and imports a command when called."""

from __future__ import annotations

from importlib import import_module

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from coterie.cli.common import Verb, complete


class Entry(TyperCommand):
    """A command or group in the list of commands.

    Args:
        name: Its name on the command line.
        place: ``module:attribute`` below ``coterie.cli``: a function, or a group's application.
        panel: Heading of its list.
        summary: The first sentence of its help.
    """

    def __init__(self, name: str, place: str, panel: str, summary: str) -> None:
        super().__init__(name, short_help=summary, rich_help_panel=panel, rich_markup_mode="rich")
        self._place = place

    def load(self) -> TyperCommand | TyperGroup:
        """Imports the command and adds the options that every command has."""
        module, _, attribute = self._place.partition(":")
        found: Verb | typer.Typer = getattr(import_module(f"coterie.cli.{module}"), attribute)
        holder = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich")
        holder.callback()(lambda: None)  # a callback keeps a single command a command of a group
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=self.name, rich_help_panel=self.rich_help_panel)
        else:
            holder.command(self.name, rich_help_panel=self.rich_help_panel)(found)
        complete(holder)
        group = get_command(holder)
        assert isinstance(group, TyperGroup)
        command = group.commands[self.name or ""]
        assert isinstance(command, TyperCommand | TyperGroup)
        return command


class LazyGroup(TyperGroup):
    """Shows entries; replaces an entry by the command itself when it is called."""

    # The classes in typer's own signature are private.
    def resolve_command(  # type: ignore[override]
        self, ctx: typer.Context, args: list[str]
    ) -> tuple[str | None, TyperCommand | TyperGroup | None, list[str]]:
        """Finds the command that is called; the parser calls this with its name."""
        if args:
            self.load(args[0])
        return super().resolve_command(ctx, args)  # type: ignore[return-value]

    def load(self, name: str) -> None:
        """Imports a command, unless it is already imported or does not exist."""
        if isinstance(entry := self.commands.get(name), Entry):
            self.commands[name] = entry.load()

    def load_all(self) -> None:
        """Imports every command, for callers that walk the whole tree."""
        for name in list(self.commands):
            self.load(name)
