"""``coterie contract pin``: a role's reference values, from a file into the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coterie.cli import console
from coterie.cli.options import AsJson, ContractFile
from coterie.errors import ContractInvalid, OutputInUse
from coterie.files import read_bounded
from coterie.kinds import Role


def pin(
    contract: ContractFile,
    values: Annotated[
        Path, typer.Argument(metavar="VALUES", help="Reference values, JSON (docs/contract.md).")
    ],
    role: Annotated[Role, typer.Option(help="The role of the reference values.")],
    out: Annotated[Path, typer.Option(help="The new contract; never overwritten.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Write a new contract, with a role's reference values taken from a file.

    Replaces what identifies the program, in the role's table for the file's kind of TEE, and nothing
    else; a comment has the file's digest.
    The new contract has another digest: let all parties sign it.

    Example: coterie contract pin contract.toml values.json --role worker --out new.toml
    """
    from coterie.contract import contract_digest, parse_contract
    from coterie.contract.loading import MAX_CONTRACT_BYTES, text_of
    from coterie.contract.pinning import with_references
    from coterie.contract.references import read_references
    from coterie.files import write_new

    references = read_references(values)
    try:
        text = text_of(read_bounded(contract, MAX_CONTRACT_BYTES), f"the contract {contract}")
    except OSError as error:
        raise ContractInvalid.unreadable(
            f"the contract {contract}",
            error,
            "a TOML file, UTF-8",
            "check the path; a canonical form (.json) cannot be changed",
        ) from error
    changed = with_references(text, str(contract), role, references)
    try:
        write_new(out, changed.encode())
    except OSError as error:
        raise OutputInUse.unwritable(f"the contract {out}", error) from error
    before, after = (
        contract_digest(parse_contract(one.encode(), str(contract))).hex()
        for one in (text, changed)
    )
    result = {
        "file": str(out),
        "role": role,
        "tee": references.tee,
        "values": references.values,
        "values_sha256": references.digest.hex(),
        "digest_before": before,
        "contract_digest": after,
    }
    if as_json:
        console.print_json(result)
        return
    typer.echo(f"{out}: {role} may be {', '.join(references.keys)} of {values}")
    typer.echo(f"values SHA-256  {references.digest.hex()}")
    typer.echo(f"digest          {before} -> {after}")
