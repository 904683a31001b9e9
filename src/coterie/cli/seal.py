"""``coterie seal`` and ``coterie keyserver``: sealed data, and the server of their keys."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.cli import console
from coterie.cli.logs import line_of_fields
from coterie.cli.options import AsJson, KdsUrl, PccsUrl, SealKeyFile
from coterie.files import silence_output, unhindered

if TYPE_CHECKING:
    from coterie.trained.optimizer_state import StateSummary


def seal(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A party's own prepared data set, OUT/PARTY.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the sealed data set.")],
    contract: Annotated[
        Path,
        typer.Option("--to", metavar="CONTRACT", help="The contract under which it was prepared."),
    ],
    key: Annotated[
        Path,
        typer.Option(
            "--key", metavar="FILE", help="File for the key: for the party's key server only."
        ),
    ],
    party: Annotated[str, typer.Option("--party", help="The party that owns the data.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Seal a prepared data set, so that it may be stored on an untrusted disk.

    Example: coterie seal data/acme acme-sealed --to contract.toml --party acme --key acme-data.key
    """
    from coterie.contract import load_contract
    from coterie.sealed.data_key import DataKey
    from coterie.sealed.sealed_dataset import seal_dataset

    agreed = load_contract(contract)
    made = DataKey.generate(party)
    made.write(key)  # written before the data: a sealed data set without its key would be lost
    try:
        sealed = seal_dataset(data, out, agreed.data, made)
    except BaseException:
        key.unlink()
        raise
    if as_json:
        value = {"directory": str(out), "data_set": sealed.set_id.hex(), "party": party}
        console.print_json({**value, "key_file": str(key)})
        return
    typer.echo(f"{out}: data set {sealed.set_id.hex()} of {party}, sealed; its key is in {key}")


def seal_key(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="File for the key; never overwritten.")
    ],
    party: Annotated[str, typer.Option("--party", help="The party whose model it will seal.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Make the key under which a party's trained model is sealed on other parties' machines.

    It belongs in the policy of the party's key server, and opens the model on the party's own computer.

    Example: coterie seal-key acme-model.key --party acme
    """
    from coterie.sealed.data_key import DataKey

    made = DataKey.generate(party)
    made.write(out)
    if as_json:
        console.print_json({"file": str(out), "key_id": made.set_id.hex(), "party": party})
        return
    typer.echo(f"{out}: key {made.set_id.hex()[:16]} for {party}'s trained model")


def seal_model(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder with a run's model.coterie, and perhaps optimizer.coterie.",
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for the sealed files; a new one.")
    ],
    key: SealKeyFile,
    *,
    as_json: AsJson = False,
) -> None:
    """Seal an open trained model, for a node on another party's host that gives it to a run.

    Example: coterie seal-model run1 start --key acme-model.key
    """
    from coterie.sealed.data_key import DataKey
    from coterie.sealed.sealed_model import seal_model as sealed_files

    written = sealed_files(folder, out, DataKey.read(key))
    if as_json:
        console.print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"{path}: sealed")


def unseal(
    sealed: Annotated[
        Path,
        typer.Argument(
            metavar="SEALED",
            help="What a node wrote: model.coterie.sealed, optimizer.coterie.sealed or variables.npz.sealed.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File for the content; a new one.")],
    key: SealKeyFile,
    *,
    as_json: AsJson = False,
) -> None:
    """Open a sealed trained model, its optimizers' state or variables, on the party's own computer.

    Example: coterie unseal model.coterie.sealed model.coterie --key acme-model.key
    """
    from coterie.errors import OutputInUse
    from coterie.sealed.data_key import DataKey
    from coterie.sealed.sealed_model import VARIABLES_NAME, open_sealed_model, sealed_name
    from coterie.trained.trained_model import MODEL_NAME, TrainedModel

    opener = DataKey.read(key)
    name = sealed_name(sealed, opener)
    octets = open_sealed_model(sealed, opener, name)
    model = TrainedModel.from_bytes(octets, str(sealed)) if name == MODEL_NAME else None
    if out.exists():
        raise OutputInUse.exists(out)
    if name == VARIABLES_NAME:
        value = {"variables": _write_variables(octets, out)}
        said = f"variables {value['variables']}"
    elif model is None:
        state = _write_state(octets, out)
        value, said = {"optimizer_state": state.digest.hex()}, f"state {state.digest.hex()}"
        value["model_digest"] = state.model.hex()
    else:
        model.write(out)
        value = {"model_digest": model.digest.hex(), "contract_digest": model.contract_digest.hex()}
        said = f"model {model.digest.hex()} of contract {model.contract_digest.hex()[:16]}"
    if as_json:
        console.print_json({"file": str(out), **value})
        return
    typer.echo(f"{out}: {said}")


def _write_variables(octets: memoryview, out: Path) -> str:
    """Writes a program's variables; returns the file's SHA-256 in hex."""
    import hashlib

    from coterie.files import writing, written_aside

    with writing(out), written_aside(out) as file:
        file.write(octets)
    return hashlib.sha256(octets).hexdigest()


def _write_state(octets: memoryview, out: Path) -> StateSummary:
    """Writes an optimizer state's file after checking every byte."""
    from coterie.files import writing, written_aside
    from coterie.trained.optimizer_state import read_state

    with writing(out), written_aside(out) as file:
        file.write(octets)
        file.flush()
        return read_state(Path(file.name))


def keyserver(
    policy_file: Annotated[
        Path, typer.Argument(metavar="POLICY", help="The policy, TOML (docs/sealing.md).")
    ],
    *,
    party_key: Annotated[Path, typer.Option("--party-key", help="The party's private key.")],
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen.")],
    log: Annotated[Path, typer.Option("--log", help="Gets a line for every request.")],
    pccs_url: PccsUrl = None,
    kds_url: KdsUrl = None,
    collateral: Annotated[
        Path | None,
        typer.Option(
            help="Directory that `coterie attest fetch` filled (real TEEs only).", file_okay=False
        ),
    ] = None,
) -> None:
    """Run a party's key server, on the party's own premises: it vouches and gives keys.

    It serves only nodes that prove, on the same connection, that they are the party's, under the
    policy's contract, and in a TEE that the policy trusts. Ends on SIGINT or SIGTERM.

    Example: coterie keyserver policy.toml --party-key acme.pem --listen 127.0.0.1:7500 --log
    journal.jsonl
    """
    from coterie.contract.signatures import load_party_key
    from coterie.keys.server.policy import KeyPolicy
    from coterie.keys.server.server import KeyServer
    from coterie.nodes.descriptors import OWN, make_room
    from coterie.ratls.listener import ListenerLimits

    make_room(OWN + ListenerLimits().pending)
    server = KeyServer(
        KeyPolicy.read(policy_file),
        load_party_key(party_key),
        listen=listen,
        log=log,
        pccs_url=pccs_url,
        kds_url=kds_url,
        collateral=collateral,
        tell=unhindered(
            lambda fields: typer.echo(line_of_fields(fields)), "standard output", silence_output
        ),
    )
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with server.serving():
        ended.wait()
