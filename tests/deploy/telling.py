"""What a deployment tells a node, read the way the node reads it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

import typer.main
from typer.core import TyperGroup

from coterie.cli.main import app, register
from coterie.enclave.inputs import NodeInputs


@dataclass(frozen=True)
class Told:
    """A node's name, and what its host says to it."""

    name: str
    listen: str | None
    addresses: dict[str, str]
    key_server: str | None
    pccs_url: str | None
    data: str | None = None
    out: str | None = None
    party_key: str | None = None


def command_line() -> TyperGroup:
    """The console script's own parser."""
    if not app.registered_commands:
        register()
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def parse(arguments: Sequence[str]) -> tuple[str, dict[str, object]]:
    """Parses a container's arguments with the console script's own parser; runs nothing.

    An argument that the command line does not know raises its usage error.
    """
    verb, *rest = arguments
    command = command_line().commands[verb]
    return verb, dict(command.make_context(verb, list(rest)).params)


def told_by_arguments(arguments: Sequence[str]) -> Told:
    """What ``coterie node ...`` is told."""
    verb, found = parse(arguments)
    assert verb == "node"
    assert str(found.pop("contract_file")) == "/contract/contract.toml"
    addresses = found.pop("address")
    assert isinstance(addresses, list | tuple | None)
    known = {
        key: None if value is None else str(value)
        for key, value in found.items()
        if key in {"listen", "key_server", "pccs_url", "data", "out", "party_key"}
    }
    return Told(
        name=str(found["name"]),
        addresses=dict(str(pair).split("=", 1) for pair in addresses or ()),
        **known,
    )


def told_by_inputs(text: str) -> Told:
    """What an enclave is told by ``node.toml``, read by the enclave's own reader."""
    found = NodeInputs.model_validate(tomllib.loads(text))
    ((_, key_server),) = found.key_servers.items()
    return Told(found.name, found.listen, dict(found.addresses), key_server, found.pccs_url)
