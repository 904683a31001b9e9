"""``coterie attest peer``: does a handshake with a running node and prints the verdict on it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.cli.attest_output import print_facts
from coterie.cli.options import (
    AsJson,
    CollateralFolder,
    KdsUrl,
    KeyServer,
    PccsUrl,
    TdQuoteUrl,
    TeeSocket,
)
from coterie.errors import (
    ContractInvalid,
    ContractMismatch,
    CoterieError,
    EvidenceRefused,
    HandshakeFailed,
    TrustError,
    VoucherRefused,
)
from coterie.kinds import SIMULATED

if TYPE_CHECKING:
    from coterie.attestation.appraiser import Appraisal
    from coterie.attestation.verdict import Check
    from coterie.contract import Contract
    from coterie.ratls.peer import Peer

REFUSED = TrustError.exit_code
# Lower than any node's incarnation, so that this command replaces no running node.
_LOOKING = 0
# The checks that an accepted peer has passed besides the appraisal, in order.
_BEFORE = (
    "certificate_encoding",
    "certificate_extensions",
    "certificate_ca",
    "certificate_key",
    "certificate_signature",
    "own_key",
    "certificate_validity",
    "certificate_lifetime",
    "claims_encoding",
    "pubkey_hash",
    "node",
    "role",
    "party",
    "certificate_name",
)
_AFTER = ("session_binding", "voucher", "contract")


def peer(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="The node's attestation port.")
    ],
    *,
    contract: Annotated[
        Path, typer.Option(help="The contract of both nodes.", exists=True, dir_okay=False)
    ],
    own: Annotated[
        str, typer.Option("--as", metavar="NAME", help="The node of the contract that asks.")
    ],
    node: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The node that must answer; the parameter server if absent."
        ),
    ] = None,
    party_key: Annotated[
        Path | None,
        typer.Option(help="Private key of the asking node's party (simulated contracts only)."),
    ] = None,
    key_server: KeyServer = None,
    pccs_url: PccsUrl = None,
    kds_url: KdsUrl = None,
    td_quote_url: TdQuoteUrl = None,
    tee_socket: TeeSocket = None,
    collateral: CollateralFolder = None,
    as_json: AsJson = False,
) -> None:
    """Attest a running node: exit code 0 if it is accepted, 3 if it is refused.

    This is the handshake between nodes: both sides prove themselves, so the asking side is a node
    of the contract too. It replaces no running node; a peer that already attested that node refuses
    the asking side in the end, and the output says so.

    Example: coterie attest peer 127.0.0.1:7440 --contract c.toml --as acme-worker --party-key k.pem
    """
    from coterie.address import Address
    from coterie.contract import load_contract
    from coterie.nodes.options import NodeOptions
    from coterie.nodes.trust import node_trust
    from coterie.ratls.handshake import dial

    agreed = load_contract(contract)
    asking = agreed.node(own)
    wanted = wanted_server(agreed, node)
    options = NodeOptions(
        party_key=party_key,
        key_server=key_server,
        pccs_url=pccs_url,
        kds_url=kds_url,
        td_quote_url=td_quote_url,
        tee_socket=tee_socket,
        collateral=collateral,
    )
    target = Address.parse(address)
    trust = node_trust(agreed, asking, options, incarnation=_LOOKING)
    heard: list[Appraisal] = []
    accepted: list[Peer] = []

    def accept(found: Peer) -> int:
        accepted.append(found)
        return 0

    trust = replace(trust, appraiser=trust.appraiser.heard_by(heard.append))
    refusal: CoterieError | None = None
    try:
        dial(target, wanted, trust, admit=accept)
    except (TrustError, ContractMismatch) as error:
        refusal = error
    judged = heard[-1] if heard else None
    print_facts(_facts(wanted, accepted, judged, refusal), as_json=as_json)
    if not accepted:
        raise typer.Exit(REFUSED)


def wanted_server(contract: Contract, name: str | None) -> str:
    """The node that must answer: the named one, or the only parameter server.

    Raises:
        ContractInvalid: There is no such node, or there are several servers.
    """
    if name is not None:
        return contract.node(name).name
    servers = contract.by_role("ps")
    if len(servers) != 1:
        raise ContractInvalid(
            "it is open who must answer",
            expected="--node NAME",
            seen=f"{len(servers)} parameter servers in the contract",
            remedy="name the node whose attestation port this is",
        )
    return servers[0].name


def _facts(
    wanted: str, accepted: list[Peer], judged: Appraisal | None, refusal: CoterieError | None
) -> dict[str, object]:
    found = accepted[0] if accepted else None
    reason = None if found else refusal
    evidence = judged.evidence if judged else None
    quote = judged.quote if judged else None
    tee = quote.kind if quote else None
    return {
        "accepted": found is not None,
        "failed_check": None if reason is None else _check(reason),
        "reason": reason and reason.what,
        "expected": reason and reason.expected,
        "seen": reason and reason.seen,
        "remedy": reason and reason.remedy,
        "node": wanted,
        "role": found and found.role,
        "party": found and found.party,
        "incarnation": found and found.incarnation,
        "refused_by_peer": str(refusal) if found and refusal else None,
        "tee": tee,
        "stamp": "SIMULATED" if tee in SIMULATED else None,
        "tcb_status": evidence and evidence.tcb.status,
        "advisories": list(evidence.tcb.advisories) if evidence else [],
        "measurements": dict(quote.measurements) if quote else {},
        "not_judged": [],
        "expiry": found and found.expires_at.isoformat(),
        "checks": [asdict(check) for check in _checks(found, judged, reason)],
    }


def _check(refusal: CoterieError) -> str:
    """Name of the failed check; refusals not of evidence have names in `_AFTER` or their own."""
    if isinstance(refusal, EvidenceRefused):
        return refusal.failed_check
    if isinstance(refusal, VoucherRefused):
        return "voucher"
    return "contract" if isinstance(refusal, ContractMismatch) else "handshake"


def _checks(
    found: Peer | None, judged: Appraisal | None, refusal: CoterieError | None
) -> tuple[Check, ...]:
    from coterie.attestation.verdict import Check

    appraised = judged.checks if judged else ()
    if found is not None:
        before = tuple(Check(name, "passed", "") for name in _BEFORE)
        return (*before, *appraised, *(Check(name, "passed", "") for name in _AFTER))
    if refusal is None or isinstance(refusal, HandshakeFailed):
        return appraised
    failed = _check(refusal)
    if any(check.name == failed for check in appraised):
        return appraised
    return (*appraised, Check(failed, "failed", refusal.seen))
