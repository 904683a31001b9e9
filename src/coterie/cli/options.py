"""Options that several verbs share, word for word."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.errors import UsageError

if TYPE_CHECKING:
    from coterie.data.prepare.layout import Layout

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


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
    """What options say of a raw file.

    Raises:
        UsageError: A ``--column`` is no ``NAME=HEADER``.
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
