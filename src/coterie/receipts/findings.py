"""What an accepted receipt says, as one record: for people, and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from coterie.attestation.verdict import Verdict
from coterie.contract import Contract
from coterie.ratls.verify import JudgedCertificate
from coterie.receipts.entry_types import Outcome, Stamp
from coterie.receipts.history import History


@dataclass(frozen=True)
class Proved:
    """Evidence in a receipt that was accepted.

    Attributes:
        line: Where it is.
        occasion: ``attested``, or why the server showed its own: ``start``, ``restart``, ``renewal``.
        node: Whose it is.
        role: Its role.
        party: The company that vouches for it.
        incarnation: Number of its start.
        key: SHA-256 of its public key, hex.
        tcb_status: State of its platform.
        measurements: What it ran, by name.
        at: The time at which it was judged, UTC.
    """

    line: int
    occasion: str
    node: str
    role: str
    party: str
    incarnation: int
    key: str
    tcb_status: str
    measurements: tuple[tuple[str, str], ...]
    at: datetime

    @classmethod
    def of(
        cls, line: int, occasion: str, judged: JudgedCertificate, verdict: Verdict, at: datetime
    ) -> Proved:
        """What a judged certificate amounts to."""
        claims = judged.claims
        return cls(
            line=line,
            occasion=occasion,
            node=claims.node,
            role=claims.role,
            party=claims.party,
            incarnation=claims.incarnation,
            key=claims.pubkey_hash.hex(),
            tcb_status=verdict.tcb_status,
            measurements=verdict.measurements,
            at=at,
        )

    def to_dict(self) -> dict[str, object]:
        """As JSON holds it."""
        return {
            **asdict(self),
            "measurements": dict(self.measurements),
            "at": self.at.isoformat(),
        }


@dataclass(frozen=True)
class Findings:
    """An accepted receipt.

    Attributes:
        contract: The receipt's contract.
        contract_digest: As it was agreed, hex.
        stamp: ``SIMULATED`` where the TEE proves nothing.
        signers: Parties whose signatures on the contract are in it, and hold.
        proved: All evidence in it.
        history: The account.
        outcome: What came out.
        entries: Their number.
        head: Hash of the last of them, hex: by it a contract names the receipt.
        first: Time of the first one, UTC.
        last: Time of the last one, UTC.
        judged_at: The time at which all was judged, if another than the entries' own was given.
    """

    contract: Contract
    contract_digest: str
    stamp: Stamp
    signers: tuple[str, ...]
    proved: tuple[Proved, ...]
    history: History
    outcome: Outcome
    entries: int
    head: str
    first: datetime
    last: datetime
    judged_at: datetime | None

    @property
    def updates(self) -> int:
        """Updates that the model holds: those of this run, and of its start."""
        return self.contract.updates_before + self.outcome.model_step

    @property
    def gaps(self) -> tuple[str, ...]:
        """What the receipt does not tell of, in words."""
        return tuple(self.history.gaps)

    def to_dict(self) -> dict[str, object]:
        """As JSON holds it."""
        history = self.history
        return {
            "accepted": True,
            "stamp": self.stamp,
            "contract": self.contract.name,
            "contract_digest": self.contract_digest,
            "mode": self.contract.mode,
            "parties": list(self.contract.party_names),
            "signed_by": list(self.signers),
            "entries": self.entries,
            "head": self.head,
            "start": history.start.model_dump(mode="json") if history.start else None,
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            "judged_at": self.judged_at.isoformat() if self.judged_at else None,
            "evidence": [proved.to_dict() for proved in self.proved],
            "data_sets": {name: asdict(brought) for name, brought in history.data_sets.items()},
            "joins": history.joins,
            "server_starts": history.starts,
            "went_back": history.went_back,
            "checkpoints": history.checkpoints,
            "refusals": history.refusals,
            "failures": history.failures,
            "gaps": list(self.gaps),
            "counted_only": history.counted_only,
            "outcome": self.outcome.model_dump(mode="json"),
        }
