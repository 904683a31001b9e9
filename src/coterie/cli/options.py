"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.errors import UsageError

if TYPE_CHECKING:
    from coterie.data.prepare.layout import Layout

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ContractFile = Annotated[Path, typer.Argument(metavar="CONTRACT", help="The contract, TOML.")]
NodeName = Annotated[str, typer.Argument(metavar="NAME", help="The node to run.")]
PartyName = Annotated[str, typer.Option("--party", help="The party's name in the contract.")]
PartyKey = Annotated[Path, typer.Option("--key", help="The party's private key.")]
SealKeyFile = Annotated[
    Path, typer.Option("--key", metavar="FILE", help="What `coterie seal-key` wrote.")
]
Listen = Annotated[
    str | None,
    typer.Option("--listen", metavar="HOST:PORT", help="Instead of the contract's address."),
]
OtherAddresses = Annotated[
    list[str] | None,
    typer.Option("--address", metavar="NAME=HOST:PORT", help="Where another node is; repeatable."),
]
PccsUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="PCCS to get collateral from, https (real TEEs only)."),
]
KdsUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="AMD's key distribution service, or a cache of it, https (contracts with SNP only).",
    ),
]
TdQuoteUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The platform's own service for TD quotes, http on a link-local address (azure-tdx only).",
    ),
]
TeeSocket = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Socket of Confidential Space's launcher, or of a program like it (contracts with a launcher or tokens).",
    ),
]
CollateralFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Directory of collateral (real TEEs only).", file_okay=False),
]
KeyServer = Annotated[
    str | None,
    typer.Option(
        "--key-server",
        metavar="HOST:PORT",
        help="The party's key server: it vouches for this node.",
    ),
]
Root = Annotated[
    Path, typer.Option("--root", help="Root of the file tree to look at.", hidden=True)
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        help="Serve Prometheus metrics at http://127.0.0.1:PORT/metrics.",
        min=1,
        max=65535,
    ),
]
TensorBoard = Annotated[
    Path | None,
    typer.Option("--tensorboard", metavar="DIR", help="Write TensorBoard's event files there."),
]
EndWithParent = Annotated[
    bool, typer.Option("--end-with-parent", help="End when standard input ends.")
]


class DialectChoice(StrEnum):
    """How a raw file's cells are written."""

    STRICT = "strict"
    TABLE = "table"


Label = Annotated[
    str,
    typer.Option(metavar="NAME", help="The label's name in a raw file's header, if it has one."),
]
Dialect = Annotated[
    DialectChoice,
    typer.Option(
        help="How a raw file's cells are written: as the contract says, or as spreadsheets and data frames do: "
        "30.0, 1e3, true, NA, null (docs/data.md)."
    ),
]
Missing = Annotated[
    list[str] | None,
    typer.Option(metavar="WORD", help="A word for a missing cell in a raw file; repeatable."),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=HEADER",
        help="What a raw file's header calls the contract's column NAME; repeatable.",
    ),
]
MaxBadRows = Annotated[
    int, typer.Option(min=0, metavar="N", help="Skip and report at most N malformed rows.")
]


def layout_of(
    label: str, dialect: DialectChoice, missing: Sequence[str] | None, column: Sequence[str] | None
) -> Layout:
    """The layout of a raw file, from the options.

    Raises:
        UsageError: A ``--column`` is not ``NAME=HEADER``.
    """
    from coterie.data.prepare.layout import Layout

    columns = {}
    for said in column or ():
        name, equals, header = said.partition("=")
        if not (name and equals and header):
            raise UsageError(
                f"--column {said} does not say what a column is called",
                expected="NAME=HEADER: the contract's name, and the header's",
                seen=said,
                remedy='for example --column "user_age=User Age"',
            )
        columns[name] = header
    return Layout(
        label,
        dialect="table" if dialect is DialectChoice.TABLE else "strict",
        missing=tuple(missing or ()),
        columns=columns,
    )
