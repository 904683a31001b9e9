"""The announced checkpoints of a run, and the check that a remembered one is among them.

A node that remembers an announced checkpoint refuses a server that continues another run, however
far that is. It also refuses a server that did not pass that checkpoint: a run that was rolled back
and then went on has other checkpoints. Only a bounded number of older checkpoints is kept. For
older ones only the run's name can be checked.
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
    """An announced checkpoint, and its run."""

    run_id: str
    checkpoint: DurableCheckpoint

    @property
    def words(self) -> str:
        """A description for people."""
        found = self.checkpoint
        return f"run {self.run_id}, step {found.step} (SHA-256 {found.digest.hex()})"


@dataclass(frozen=True)
class Lineage:
    """A run's history at its server.

    Attributes:
        run_id: Its random name, 64 hex digits; empty before a run is known.
        newest: The newest announced checkpoint.
        passed: The checkpoints before it, oldest first.
        consents: Consents by which the run went back.
    """

    run_id: str = ""
    newest: DurableCheckpoint | None = None
    passed: tuple[DurableCheckpoint, ...] = ()
    consents: tuple[RollbackConsent, ...] = ()

    @staticmethod
    def restored(
        record: RunRecord, newest: DurableCheckpoint, consent: RollbackConsent | None
    ) -> Lineage:
        """The lineage of a restarted server.

        Args:
            record: The checkpoint's record.
            newest: The announced checkpoint.
            consent: The parties' present consent; no effect if the record already has it.

        Raises:
            SignatureRefused: The consent is for another checkpoint, or there are too many.
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
        """Refuses a consent that is not for the server's present checkpoint.

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
        """The run's position, for people."""
        if self.newest is None:
            return f"run {self.run_id} from its beginning"
        return Announced(self.run_id, self.newest).words

    def announce(self, newest: DurableCheckpoint) -> Lineage:
        """The lineage after another announced checkpoint."""
        passed = self.passed if self.newest is None else (*self.passed, self.newest)
        return replace(self, newest=newest, passed=passed[-MAX_PASSED:])

    def record(self) -> tuple[tuple[PassedCheckpoint, ...], tuple[RollbackConsent, ...]]:
        """The part of it that the next checkpoint stores."""
        newest = () if self.newest is None else (self.newest,)
        passed = (*self.passed, *newest)[-MAX_PASSED:]
        return (
            tuple(PassedCheckpoint(step=p.step, digest=p.digest.hex()) for p in passed),
            self.consents,
        )

    def passes(self, checkpoint: DurableCheckpoint) -> bool:
        """Whether the run passed a checkpoint, or has passed too many since then to know."""
        if self.newest is None:
            return False
        known = (*self.passed, self.newest)
        if checkpoint in known:
            return True
        return len(self.passed) >= MAX_PASSED and checkpoint.step < known[0].step

    def consents_for(self, remembered: Announced) -> tuple[RollbackConsent, ...]:
        """Consents that give a remembered checkpoint up; does not check their signatures."""
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
        """Checks the server of this lineage against a remembered checkpoint.

        Returns:
            Consents, one of which is needed to continue; none if no announced checkpoint is lost.

        Raises:
            RollbackRefused: It continues another run, or was rolled back.
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
