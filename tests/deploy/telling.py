"""What a deployment tells a node, read the way the node reads it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from typer.core import TyperGroup

from coterie.cli.main import application
from coterie.enclave.inputs import NodeInputs


@dataclass(frozen=True)
class Told:
    """A node's name, and what its host says to it."""

    name: str
    listen: str | None
    addresses: dict[str, str]
    key_servers: dict[str, str]
    pccs_url: str | None
    data: str | None = None
    out: str | None = None
    party_key: str | None = None


def command_line() -> TyperGroup:
    """The console script's own parser."""
    group = application()
    group.load_all()
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
    assert str(found["contract_file"]) == "/contract/contract.toml"
    own, others = _several(found, "key_server")
    party_key, no_others = _several(found, "party_key")
    assert no_others == {}
    return Told(
        name=str(found["name"]),
        listen=_one(found, "listen"),
        addresses=_several(found, "address")[1],
        key_servers=others | ({"": own} if own is not None else {}),
        pccs_url=_one(found, "pccs_url"),
        data=_one(found, "data"),
        out=_one(found, "out"),
        party_key=party_key,
    )


def _one(found: dict[str, object], name: str) -> str | None:
    return None if found[name] is None else str(found[name])


def _several(found: dict[str, object], name: str) -> tuple[str | None, dict[str, str]]:
    """A repeatable option: what is given without a name, and the rest by name."""
    values = found[name] or ()
    assert isinstance(values, list | tuple)
    named = dict(str(value).split("=", 1) for value in values if "=" in str(value))
    own = [str(value) for value in values if "=" not in str(value)]
    assert len(own) <= 1
    return (own[0] if own else None), named


def told_by_inputs(text: str) -> Told:
    """What an enclave is told by ``node.toml``, read by the enclave's own reader."""
    found = NodeInputs.model_validate(tomllib.loads(text))
    addresses, servers = (
        {name: str(address) for name, address in places.items()}
        for places in (found.addresses, found.key_servers)
    )
    listen = None if found.listen is None else str(found.listen)
    return Told(found.name, listen, addresses, servers, found.pccs_url)
