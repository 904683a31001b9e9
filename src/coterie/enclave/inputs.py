"""A node's inputs from its host inside of an enclave: its name, and the addresses of others.

The host chooses these, so none of them is trusted. A wrong name fails at the claims and the
voucher; a wrong address fails because the peer there cannot be attested. The host can choose
nothing else: no path, no switch, no environment variable (docs/threat-model.md, "Why a host's
inputs may be untrusted").
"""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.address import AddressText
from coterie.errors import EnvironmentUnfit
from coterie.files import read_bounded

MAX_INPUT_BYTES = 1 << 16

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


_unfit = partial(
    EnvironmentUnfit,
    "what the host says to this node, node.toml, cannot be used",
    expected="TOML with name, and where needed listen, addresses, key_servers, pccs_url, kds_url, "
    "td_quote_url",
    remedy="write the file again; docs/deployment.md shows one",
)


class NodeInputs(BaseModel):
    """The content of ``node.toml``.

    Attributes:
        name: This node's name in the contract.
        listen: ``HOST:PORT`` in place of the contract's address.
        addresses: Addresses of other nodes, by name.
        key_servers: Addresses of parties' key servers, by party.
        pccs_url: Address of a PCCS.
        kds_url: Address of AMD's key distribution service, for SNP guests.
        td_quote_url: Address of the platform's service that makes TD quotes, for Azure guests above
            TDX. It must be on the machine's own link.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Name
    listen: AddressText | None = None
    addresses: dict[Name, AddressText] = {}
    key_servers: dict[Name, AddressText] = {}
    pccs_url: Annotated[str, Field(pattern=r"^https://[!-~]{1,500}$")] | None = None
    kds_url: Annotated[str, Field(pattern=r"^https://[!-~]{1,500}$")] | None = None
    td_quote_url: Annotated[str, Field(pattern=r"^http://[!-~]{1,500}$")] | None = None


def read_inputs(path: Path) -> NodeInputs:
    """Reads ``node.toml``.

    Raises:
        EnvironmentUnfit: It cannot be read, is too large, or has other content.
    """
    try:
        text = read_bounded(path, MAX_INPUT_BYTES)
    except OSError as error:
        raise _unfit(seen=error.strerror or type(error).__name__) from error
    if len(text) > MAX_INPUT_BYTES:
        raise _unfit(seen=f"more than {MAX_INPUT_BYTES} bytes")
    try:
        return NodeInputs.model_validate(tomllib.loads(text.decode()))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise _unfit(seen=f"{key}: {problem['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _unfit(seen=str(error)[:300]) from error
