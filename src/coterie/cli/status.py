"""``coterie status``: shows the progress of a running parameter server, attested and read-only."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from coterie.cli import console
from coterie.cli.options import AsJson, CollateralFolder, KdsUrl, PccsUrl
from coterie.errors import SignatureRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coterie.contract import Contract
    from coterie.status.messages import Answered, SeenCluster, SeenPeer, SeenRun


def status(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="HOST:PORT of its attestation port.")
    ],
    *,
    contract: Annotated[
        Path, typer.Option(help="The contract of the run.", exists=True, dir_okay=False)
    ],
    party_key: Annotated[
        Path, typer.Option(help="Private key of a party of the contract: it signs the request.")
    ],
    node: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Which node must answer; the only parameter server if absent."
        ),
    ] = None,
    pccs_url: PccsUrl = None,
    kds_url: KdsUrl = None,
    collateral: CollateralFolder = None,
    as_json: AsJson = False,
) -> None:
    """Ask a running parameter server, or a TensorFlow node, for its status; this changes nothing.

    It proves itself as it does to nodes. Any party of the contract may ask.

    Example: coterie status 10.0.0.7:7440 --contract mine.toml --party-key acme.pem
    """
    from coterie.address import Address
    from coterie.attestation.clock import FlooredClock
    from coterie.attestation.collateral_options import collateral_from_options
    from coterie.cli.attest_peer import wanted_server
    from coterie.contract import load_contract
    from coterie.contract.signatures import load_party_key, public_key_text
    from coterie.ratls.trust import RelyingParty
    from coterie.receipts.verification import appraiser_for
    from coterie.status.client import ask_status

    agreed = load_contract(contract)
    key = load_party_key(party_key)
    clock = FlooredClock(datetime.now(UTC))
    trust = RelyingParty(
        contract=agreed,
        appraiser=appraiser_for(agreed, collateral),
        collateral=collateral_from_options(
            agreed.trust.kinds,
            pccs_url=pccs_url,
            kds_url=kds_url,
            folder=collateral,
            observe=clock.observe,
        ),
        clock=clock,
    )
    name = wanted_server(agreed, node)
    said = ask_status(
        Address.parse(address), name, trust, key, _party_of(agreed, public_key_text(key))
    )
    run, peers = _progress(said.answer), said.answer.peers
    facts: dict[str, object] = {
        "node": name,
        "stamp": "SIMULATED" if said.verdict.simulated else said.verdict.tee,
        "tcb_status": said.verdict.tcb_status,
        "measurements": dict(said.verdict.measurements),
        "process_incarnation": said.incarnation,
        **_facts(run),
        "peers": [
            {
                **peer.model_dump(),
                "attested_at": _time(peer.attested_at),
                "until": _time(peer.until),
            }
            for peer in peers
        ],
    }
    if as_json:
        console.print_json(facts)
        return
    say = console.out.print
    say(f"{name}: {run.phase}  [bold]{facts['stamp']}[/]", highlight=False)
    for line in _words(run):
        say(line, highlight=False)
    console.print_table(peers_table(agreed, name, states_of(run), peers))


def _progress(answer: Answered) -> SeenRun | SeenCluster:
    from coterie.status.messages import Answer, ClusterAnswer

    assert isinstance(answer, Answer | ClusterAnswer)
    return answer.run if isinstance(answer, Answer) else answer.cluster


def _facts(run: SeenRun | SeenCluster) -> dict[str, object]:
    """The progress, as JSON holds it."""
    from coterie.status.messages import SeenRun

    if not isinstance(run, SeenRun):
        return {**run.model_dump(exclude={"program"}), "program": run.program.hex()}
    progress = run.progress
    kept = progress.checkpoint
    checkpoint = kept and {"step": kept.step, "digest": kept.digest.hex()}
    return {**asdict(progress), "checkpoint": checkpoint}


def _words(run: SeenRun | SeenCluster) -> tuple[str, ...]:
    """The progress beside the phase, for people."""
    from coterie.status.messages import SeenRun

    if isinstance(run, SeenRun):
        kept = run.progress.checkpoint
        checkpoint = f"at step {kept.step}, {kept.digest.hex()[:16]}" if kept else "none yet"
        return (f"step {run.step} of {run.steps or '?'}; checkpoint {checkpoint}",)
    calls = "not inspected" if run.refused_calls is None else f"{run.refused_calls} refused"
    return (f"program {run.program.hex()}", f"refusals {run.refusals}; calls {calls}")


def states_of(run: SeenRun | SeenCluster) -> dict[str, str]:
    """What nodes are doing, by name."""
    from coterie.status.messages import SeenRun

    if not isinstance(run, SeenRun):
        return dict.fromkeys(run.missing, "missing")
    return {
        **dict.fromkeys(run.joined, "joined"),
        **dict.fromkeys(run.missing, "missing"),
        **dict.fromkeys(run.silent, "silent"),
        **dict.fromkeys(run.left_out, "left out"),
    }


def peers_table(
    contract: Contract, server: str, states: Mapping[str, str], peers: Sequence[SeenPeer]
) -> Table:
    """A table of all nodes but the asked server; times to the minute, to fit 80 columns."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("node", "run", "attested, UTC", "until", "platform", "measurement"):
        table.add_column(title, no_wrap=True)
    seen = {peer.node: peer for peer in peers}
    for entry in contract.nodes:
        if entry.name == server:
            continue
        proof = ("", "", "", "")
        if (peer := seen.get(entry.name)) is not None:
            attested, until = (
                datetime.fromtimestamp(at, UTC) for at in (peer.attested_at, peer.until)
            )
            days = "" if until.date() == attested.date() else "%Y-%m-%d "
            proof = (
                f"{attested:%Y-%m-%d %H:%M}",
                until.strftime(f"{days}%H:%M"),
                peer.tcb_status,
                peer.measurement[:16],
            )
        table.add_row(entry.name, states.get(entry.name, ""), *proof)
    return table


def _party_of(contract: Contract, key: str) -> str:
    for party in contract.parties:
        if key in party.keys_at(None):
            return party.name
    raise SignatureRefused(
        "this is no key of a party of the contract",
        expected=f"the key of one of {', '.join(contract.party_names)}"[:300],
        seen=key,
        remedy="give --party-key your party's key, and --contract the file that names it",
    )


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
