"""``coterie contract``: party keys, signatures, and a look at a contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coterie.cli import console
from coterie.cli.contract_pin import pin
from coterie.cli.contract_terms import diff, show
from coterie.cli.options import AsJson, ContractFile, PartyKey, PartyName
from coterie.errors import OutputInUse, SignatureRefused

app = typer.Typer(no_args_is_help=True, help="Party keys, signatures, and views of a contract.")


@app.command()
def keygen(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File for the private key.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Make a party's Ed25519 key; print the public half, for the contract.

    Example: coterie contract keygen acme.pem
    """
    from coterie.contract.signatures import generate_party_key, public_key_text

    public = public_key_text(generate_party_key(out))
    if as_json:
        console.print_json({"file": str(out), "key": public})
    else:
        typer.echo(public)


@app.command()
def sign(
    contract: ContractFile,
    key: PartyKey,
    party: PartyName,
    *,
    as_json: AsJson = False,
) -> None:
    """Sign a contract for a party; writes CONTRACT.PARTY.sig beside it.

    Example: coterie contract sign contract.toml --key acme.pem --party acme
    """
    from coterie.contract import load_contract
    from coterie.contract.signatures import load_party_key, sign_contract, signature_path
    from coterie.files import write_whole

    signature = sign_contract(load_contract(contract), load_party_key(key), party)
    path = signature_path(contract, party)
    try:
        write_whole(path, signature.to_json().encode())
    except OSError as error:
        remedy = "copy the contract to a folder of your own and sign it there"
        raise OutputInUse.unwritable(f"the signature {path}", error, remedy) from error
    if as_json:
        digest = signature.contract_digest
        console.print_json({"file": str(path), "party": party, "contract_digest": digest})
    else:
        typer.echo(f"{path}: {party} signed contract {signature.contract_digest}")


@app.command()
def verify(
    contract: ContractFile,
    signatures: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SIG]...", help="By default those beside the contract."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List who signed a contract and who is missing; fails unless all parties signed.

    Example: coterie contract verify contract.toml
    """
    from coterie.contract import contract_digest, load_contract
    from coterie.contract.signatures import (
        load_signature,
        signature_path,
        verify_signature,
        verify_signatures,
    )

    agreed = load_contract(contract)
    paths = signatures or [
        path for party in agreed.parties if (path := signature_path(contract, party.name)).exists()
    ]
    good, wrong = [], []
    found: list[str] = []
    for path in paths:
        try:
            signature = load_signature(path)
            verify_signature(agreed, signature)
        except SignatureRefused as error:
            wrong.append(error)
            found.append(f"wrong    {path}: {error.what}")
        else:
            good.append(signature)
            found.append(f"signed   {signature.party}")
    signed = [signature.party for signature in good]
    found += [f"missing  {party.name}" for party in agreed.parties if party.name not in signed]
    if not as_json:
        typer.echo("\n".join(found))
    if wrong:
        raise wrong[0]
    verify_signatures(agreed, good)
    if as_json:
        console.print_json({"contract_digest": contract_digest(agreed).hex(), "signed": signed})


@app.command()
def rollback(  # noqa: PLR0917 (one per option)
    contract: ContractFile,
    key: PartyKey,
    party: PartyName,
    run: Annotated[str, typer.Option("--run", help="The run's name, hex.")],
    step: Annotated[
        int, typer.Option("--step", min=0, help="The checkpoint from which to continue.")
    ],
    digest: Annotated[str, typer.Option("--digest", help="Its digest, hex.")],
    given_up_step: Annotated[
        int,
        typer.Option("--given-up-step", min=0, help="The newest checkpoint that a node remembers."),
    ],
    given_up_digest: Annotated[str, typer.Option("--given-up-digest", help="Its digest, hex.")],
    out: Annotated[Path, typer.Option("--out", help="The consent; signatures are added to it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Consent, once, that a run continues from an older checkpoint than was announced.

    The errors that refuse the server name the run and both checkpoints; the newest checkpoint that
    any node names is given up. When all parties have signed, start the parameter server with
    --rollback-consent. A node accepts a consent once.

    Example: coterie contract rollback c.toml --key acme.pem --party acme --run HEX --step 40
    --digest HEX --given-up-step 60 --given-up-digest HEX --out consent.json
    """
    from coterie.contract import contract_digest, load_contract
    from coterie.contract.rollback import RollbackConsent
    from coterie.contract.signatures import load_party_key

    agreed = load_contract(contract)
    wanted = RollbackConsent(
        contract_digest(agreed),
        _hex(run, "--run").hex(),
        step,
        _hex(digest, "--digest"),
        given_up_step,
        _hex(given_up_digest, "--given-up-digest"),
        {},
    )
    if out.exists():
        found = RollbackConsent.read(out)
        if found.name != wanted.name:
            raise OutputInUse(
                f"{out} is a consent to something else", expected=wanted.words, seen=found.words
            )
        wanted = found
    signed = wanted.signed_by(agreed, load_party_key(key), party)
    signed.write(out)
    missing = [name for name in agreed.party_names if name not in signed.signatures]
    if as_json:
        console.print_json({"file": str(out), "party": party, "missing": missing})
        return
    typer.echo(f"{out}: {party} consents" + (f"; missing: {', '.join(missing)}" if missing else ""))


def _hex(text: str, option: str) -> bytes:
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        octets = b""
    if len(octets) != 32:
        raise typer.BadParameter("64 hex digits are expected", param_hint=option)
    return octets


app.command()(show)
app.command()(diff)
app.command()(pin)
