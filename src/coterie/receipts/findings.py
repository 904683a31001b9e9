"""The content of an accepted receipt as one record, for people and programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from coterie.attestation.verdict import Verdict
from coterie.contract import Contract
from coterie.kinds import Stamp, TeeKind
from coterie.ratls.verify import JudgedCertificate
from coterie.receipts.cluster_history import ClusterHistory
from coterie.receipts.entry_types import Outcome
from coterie.receipts.history import History

# Only runs of Coterie's own engine have these.
_RUN_ONLY = ("start", "data_sets", "went_back", "checkpoints")


@dataclass(frozen=True)
class Proved:
    """A piece of accepted evidence in a receipt.

    Attributes:
        line: Its line.
        occasion: ``attested`` for a node; ``start``, ``restart`` or ``renewal`` for the server.
        node: The node that it belongs to.
        role: The node's role.
        party: The party that vouches for the node.
        incarnation: The node's incarnation.
        key: SHA-256 of the node's public key, hex.
        tee: Kind of TEE that it runs in.
        tcb_status: TCB status of its platform.
        measurements: Measurements of its program, by name.
        at: Time as of which it was verified, UTC.
    """

    line: int
    occasion: str
    node: str
    role: str
    party: str
    incarnation: int
    key: str
    tee: TeeKind
    tcb_status: str
    measurements: tuple[tuple[str, str], ...]
    at: datetime

    @classmethod
    def of(
        cls, line: int, occasion: str, judged: JudgedCertificate, verdict: Verdict, at: datetime
    ) -> Proved:
        """Makes the record from a verified certificate."""
        claims = judged.claims
        return cls(
            line=line,
            occasion=occasion,
            node=claims.node,
            role=claims.role,
            party=claims.party,
            incarnation=claims.incarnation,
            key=claims.pubkey_hash.hex(),
            tee=verdict.tee,
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
        contract_digest: The contract's digest, hex.
        stamp: ``SIMULATED`` if the TEE proves nothing.
        signers: Parties with valid signatures on the contract in the receipt.
        proved: All evidence in it.
        history: The history of the run.
        entries: Number of entries.
        head: Hash of the last entry, hex. A contract names the receipt by it.
        first: Time of the first entry, UTC.
        last: Time of the last entry, UTC.
        judged_at: Time as of which all was verified, if the caller gave one.
    """

    contract: Contract
    contract_digest: str
    stamp: Stamp
    signers: tuple[str, ...]
    proved: tuple[Proved, ...]
    history: History
    entries: int
    head: str
    first: datetime
    last: datetime
    judged_at: datetime | None

    @property
    def cluster(self) -> ClusterHistory | None:
        """The history, if it is that of a TensorFlow cluster."""
        return self.history if isinstance(self.history, ClusterHistory) else None

    @property
    def outcome(self) -> Outcome:
        """The last entry of a run's receipt. A TensorFlow cluster's has none: see ``cluster``."""
        assert self.history.outcome is not None
        return self.history.outcome

    @property
    def updates(self) -> int:
        """Number of updates that a run's model holds, of this run and of its start."""
        return self.contract.updates_before + self.outcome.model_step

    @property
    def model_digest(self) -> str | None:
        """Digest of the model, if the receipt names one."""
        return None if self.cluster is not None else self.outcome.model_digest

    @property
    def gaps(self) -> tuple[str, ...]:
        """What is missing in the receipt, in words."""
        return tuple(self.history.gaps)

    def to_dict(self) -> dict[str, object]:
        """As JSON holds it. What a TensorFlow cluster's receipt does not tell is null."""
        history, cluster = self.history, self.cluster
        told: dict[str, object] = {
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
            "outcome": None if cluster else self.outcome.model_dump(mode="json"),
            "tensorflow": cluster and cluster.to_dict(),
        }
        return told if cluster is None else {**told, **dict.fromkeys(_RUN_ONLY)}
