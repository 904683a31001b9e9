"""``coterie attest make``: writes evidence of this machine to a file, before there is a contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coterie.cli.attest_output import print_facts
from coterie.cli.options import AsJson, CollateralFolder, KdsUrl, Root, TdQuoteUrl, TeeSocket
from coterie.errors import OutputInUse
from coterie.kinds import OF_VTPM, TeeKind

# Over nothing: whoever may run this command gets no evidence for a key or a session.
_REPORT_DATA = bytes(64)


def make(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The evidence; a new file.", dir_okay=False)
    ],
    *,
    tee: Annotated[TeeKind, typer.Option("--tee", help="The TEE that this machine is.")],
    pcr: Annotated[
        list[int] | None,
        typer.Option(
            metavar="NUMBER",
            min=0,
            max=23,
            help="A PCR to quote; repeatable; for machines with a virtual TPM, which need one.",
        ),
    ] = None,
    kds_url: KdsUrl = None,
    td_quote_url: TdQuoteUrl = None,
    tee_socket: TeeSocket = None,
    collateral: CollateralFolder = None,
    root: Root = Path("/"),
    as_json: AsJson = False,
) -> None:
    """Write evidence of this machine to a file: to read its values, and to draft a contract with them.

    It is over zeros, so it is of no contract, node or session. Nothing is appraised: others do that
    with `coterie attest verify`.

    Example: coterie attest make evidence.bin --tee azure-snp --pcr 4 --pcr 11 --kds-url https://kds.example
    """
    from coterie.attestation.collateral_options import (
        endorsements_from_options,
        td_quotes_from_options,
    )
    from coterie.attestation.tee.by_kind import open_tee
    from coterie.files import write_new

    pcrs = tuple(sorted(set(pcr or ())))
    if bool(pcrs) != (tee in OF_VTPM):
        needed = "at least one, since a virtual TPM quotes those" if tee in OF_VTPM else "none"
        raise typer.BadParameter(f"evidence of {tee} needs {needed}", param_hint="'--pcr'")
    if tee_socket is not None and tee != "tdx":
        raise typer.BadParameter(
            f"evidence of {tee} is by no launcher", param_hint="'--tee-socket'"
        )
    opened = open_tee(
        tee,
        root=root,
        pcrs=pcrs,
        endorsements=endorsements_from_options(kds_url=kds_url, folder=collateral),
        td_quotes=td_quotes_from_options(tee, td_quote_url),
        launcher=tee_socket,
    )
    evidence = opened.quote(_REPORT_DATA)
    try:
        write_new(out, evidence)
    except FileExistsError as error:
        raise OutputInUse.exists(out) from error
    except OSError as error:
        raise OutputInUse.unwritable(f"the evidence {out}", error) from error
    print_facts({"written": str(out), "tee": tee, "bytes": len(evidence)}, as_json=as_json)
