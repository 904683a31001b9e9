"""A group that names its verbs at once, and imports a verb only when it is called."""

from __future__ import annotations

from importlib import import_module

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from coterie.cli.common import Verb, complete


class Entry(TyperCommand):
    """A verb, or a group of verbs, as the list of commands shows it.

    Args:
        name: How it is typed.
        place: ``module:attribute`` below ``coterie.cli``: a function, or a group's application.
        panel: Heading of the list that it stands in.
        summary: What it does, in a sentence: the first of its own help.
    """

    def __init__(self, name: str, place: str, panel: str, summary: str) -> None:
        super().__init__(name, short_help=summary, rich_help_panel=panel, rich_markup_mode="rich")
        self._place = place

    def load(self) -> TyperCommand | TyperGroup:
        """Imports the verb; gives it the options that every verb has."""
        module, _, attribute = self._place.partition(":")
        found: Verb | typer.Typer = getattr(import_module(f"coterie.cli.{module}"), attribute)
        holder = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="rich")
        holder.callback()(lambda: None)  # with it, one verb is still a verb of a group
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
    """Shows entries; puts the verb itself in an entry's place when it is called."""

    # typer keeps the classes that its own signature names to itself.
    def resolve_command(  # type: ignore[override]
        self, ctx: typer.Context, args: list[str]
    ) -> tuple[str | None, TyperCommand | TyperGroup | None, list[str]]:
        """Finds the verb that is called; the parser calls this once it knows its name."""
        if args:
            self.load(args[0])
        return super().resolve_command(ctx, args)  # type: ignore[return-value]

    def load(self, name: str) -> None:
        """Imports a verb, unless that is done already or there is no such verb."""
        if isinstance(entry := self.commands.get(name), Entry):
            self.commands[name] = entry.load()

    def load_all(self) -> None:
        """Imports every verb: for whoever walks the whole tree."""
        for name in list(self.commands):
            self.load(name)
