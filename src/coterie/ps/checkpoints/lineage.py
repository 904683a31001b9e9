"""Through which announced checkpoints a run came, and whether one that somebody remembers is among them.

Whoever remembers an announced checkpoint refuses a server that goes on with another run, however far
that is, and one that came to where it is by another way: a run that was set back, and then went on,
has other checkpoints since. Of those behind the newest only so many are kept: whether an older one was
passed cannot be told any more, but the run's name can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from coterie.contract.rollback import RollbackConsent
from coterie.errors import RollbackRefused, SignatureRefused
from coterie.ps.checkpoints.records import (
    MAX_CONSENTS,
    MAX_PASSED,
    DurableCheckpoint,
    PassedCheckpoint,
    RunRecord,
)


@dataclass(frozen=True)
class Announced:
    """A checkpoint that somebody saw announced, and the run that it is of."""

    run_id: str
    checkpoint: DurableCheckpoint

    @property
    def words(self) -> str:
        """For people."""
        found = self.checkpoint
        return f"run {self.run_id}, step {found.step} (SHA-256 {found.digest.hex()})"


@dataclass(frozen=True)
class Lineage:
    """A run as its server knows it.

    Attributes:
        run_id: Its random name, 64 hex digits; empty before a run is known.
        newest: The newest announced checkpoint.
        passed: Those before it, oldest first.
        consents: By which the run went back.
    """

    run_id: str = ""
    newest: DurableCheckpoint | None = None
    passed: tuple[DurableCheckpoint, ...] = ()
    consents: tuple[RollbackConsent, ...] = ()

    @staticmethod
    def restored(
        record: RunRecord, newest: DurableCheckpoint, consent: RollbackConsent | None
    ) -> Lineage:
        """As a server finds it when it comes back.

        Args:
            record: Of the checkpoint.
            newest: The checkpoint as it was announced.
            consent: What the parties gave the server now; one that the record has changes nothing.

        Raises:
            SignatureRefused: The consent is to go on from something else, or is one too many.
        """
        lineage = Lineage(
            record.run_id,
            newest,
            tuple(DurableCheckpoint(p.step, bytes.fromhex(p.digest)) for p in record.passed),
            tuple(stored.opened() for stored in record.consents),
        )
        known = {kept.name for kept in lineage.consents}
        if consent is None or consent.name in known:
            return lineage
        if len(known) >= MAX_CONSENTS:
            raise SignatureRefused(
                "the run went back by consent too often",
                expected=f"at most {MAX_CONSENTS} times",
                seen="one more consent",
                remedy="start a new run",
            )
        lineage.check_target(consent)
        return replace(lineage, consents=(*lineage.consents, consent))

    def check_target(self, consent: RollbackConsent | None) -> None:
        """Refuses a server's consent that is not to go on from where it is.

        Raises:
            SignatureRefused: It is for another run or checkpoint.
        """
        if consent is not None and (consent.run_id, _target(consent)) != (self.run_id, self.newest):
            raise SignatureRefused(
                "the consent to roll back is for another checkpoint than the server goes on from",
                expected=self.words,
                seen=Announced(consent.run_id, _target(consent)).words,
                remedy="restore the checkpoint that the parties agreed on; to go on from this one, "
                "let them sign again; if nothing was lost, start without --rollback-consent",
            )

    @property
    def words(self) -> str:
        """Where the run stands, for people."""
        if self.newest is None:
            return f"run {self.run_id} from its beginning"
        return Announced(self.run_id, self.newest).words

    def announce(self, newest: DurableCheckpoint) -> Lineage:
        """The lineage once one more checkpoint is announced."""
        passed = self.passed if self.newest is None else (*self.passed, self.newest)
        return replace(self, newest=newest, passed=passed[-MAX_PASSED:])

    def record(self) -> tuple[tuple[PassedCheckpoint, ...], tuple[RollbackConsent, ...]]:
        """What the next checkpoint is to hold of it."""
        newest = () if self.newest is None else (self.newest,)
        passed = (*self.passed, *newest)[-MAX_PASSED:]
        return (
            tuple(PassedCheckpoint(step=p.step, digest=p.digest.hex()) for p in passed),
            self.consents,
        )

    def passes(self, checkpoint: DurableCheckpoint) -> bool:
        """Whether the run came through a checkpoint, or through so many since that nobody can tell."""
        if self.newest is None:
            return False
        known = (*self.passed, self.newest)
        if checkpoint in known:
            return True
        return len(self.passed) >= MAX_PASSED and checkpoint.step < known[0].step

    def consents_for(self, remembered: Announced) -> tuple[RollbackConsent, ...]:
        """Consents that give up what somebody remembers; their signatures are not checked here."""
        found = remembered.checkpoint
        return tuple(
            consent
            for consent in self.consents
            if consent.run_id == self.run_id
            and self.passes(_target(consent))
            and (
                found.step < consent.given_up_step
                or found == DurableCheckpoint(consent.given_up_step, consent.given_up_digest)
            )
        )

    def check(self, remembered: Announced) -> tuple[RollbackConsent, ...]:
        """Judges the server of this lineage by what somebody remembers.

        Returns:
            Consents, one of which is needed to go on; none if nothing that was announced is lost.

        Raises:
            RollbackRefused: It goes on with another run, or was set back.
        """
        if remembered.run_id != self.run_id:
            raise RollbackRefused(
                "the parameter server goes on with another run than the one that this node took "
                "part in",
                expected=f"{remembered.words}, or what came of it",
                seen=self.words,
                remedy="start the server with the folder that it had in that run; if a new run is "
                "meant, give every node an empty --out folder",
            )
        if self.passes(remembered.checkpoint):
            return ()
        if consents := self.consents_for(remembered):
            return consents
        raise RollbackRefused(
            "the parameter server was restored from an older checkpoint than it had announced, "
            "or from another one",
            expected=f"{remembered.words}, or what came of it",
            seen=self.words,
            remedy="restore the server's newest checkpoint; if it is lost, all parties may consent "
            "to go on from this one (coterie contract rollback), or start a new run",
        )


def _target(consent: RollbackConsent) -> DurableCheckpoint:
    return DurableCheckpoint(consent.step, consent.digest)
