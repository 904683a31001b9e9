"""Every error that Coterie raises on purpose, as one tree.

    CoterieError
    |-- UsageError                 2   the command line was given what it does not know
    |-- ContractError              4   the contract is not usable
    |   |-- ContractInvalid            unknown keys, impossible values, inconsistent node sets
    |   |-- ModelUnfit                 layers that do not fit together, or that no contract can hold
    |   |-- ContractMismatch           two nodes hold contracts that differ
    |   |-- ContractExpired            the contract has ended
    |   `-- SignatureRefused           a party's signature on the contract is missing or wrong
    |-- DataError                  5   raw or prepared data is not usable
    |   |-- RawDataInvalid             rows that do not fit the contract
    |   |-- DataSetDamaged               truncated or altered data sets
    |   |-- SealBroken                 a sealed file was altered, cut or swapped
    |   |-- KeyFileRefused             a file is no key of a sealed data set
    |   |-- ModelDamaged               a trained model's file was altered or cut
    |   |-- StartRefused               what a run is to go on from is not what its contract names
    |   |-- ResultUnreadable           a run has left no result, or one of another version
    |   `-- DataSetMismatch            prepared under another contract's data section
    |-- TrustError                 3   somebody is not who or what the contract demands
    |   |-- EvidenceRefused            a quote, certificate or its claims failed a named check
    |   |-- HandshakeFailed            the attested handshake broke off
    |   |-- VoucherRefused             the party did not vouch for the node
    |   |-- KeyRefused                 a key server does not give a node what it asks for
    |   |-- ManifestRefused            an enclave's manifest lets the host choose what it must not
    |   |-- RollbackRefused            a parameter server is set back, or goes on with another run
    |   |-- ReceiptRefused             a receipt was altered, is not whole, or does not add up
    |   `-- CallRefused                this role may not call this method, or its pin has expired
    |-- ProtocolError              6   a peer sent what the protocol forbids
    |   |-- MessageRefused             a limit, shape, id or value out of bounds
    |   `-- StepRefused                a push outside of the step window, or by a stale incarnation
    `-- RunError                   7   the run cannot start or go on
        |-- OutputInUse                the output directory holds another run
        |-- AddressInUse               a listening port is taken
        |-- PeerUnreachable            a node cannot be reached, or went away
        |   `-- PeerBusy               it has too many calls of this node under way
        |-- JournalBroken              a key server's log was touched
        |-- NodeMissing                the run ended because a node stayed away
        |-- NodeFailed                 a node's process ended with an error
        |-- CheckpointDamaged          a checkpoint is torn or altered
        |-- TrainingDiverged           losses or gradients grew out of all bounds
        `-- EnvironmentUnfit           this machine lacks something that the verb needs

The number is the process's exit code (0 is success, 1 an internal defect, 130 an interruption). Each error
says four things: what happened, what was expected, what was seen, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class CoterieError(Exception):
    """Root of the tree; the only class that the command line catches.

    Args:
        what: One sentence: what happened, naming the thing that it happened to.
        expected: What would have been right.
        seen: What was found instead.
        remedy: What the reader can do now.

    Attributes:
        peer_proved: Whether it is the word of a peer that had proved itself, or about such a one. Any
            other error of a connection may be the work of whoever sits on the way: so it is no
            reason to give up.
    """

    exit_code: ClassVar[int] = 1
    peer_proved: bool = False

    def __init__(self, what: str, *, expected: str = "", seen: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.seen = seen
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.what]
        for label, text in (
            ("expected", self.expected),
            ("seen", self.seen),
            ("remedy", self.remedy),
        ):
            if text:
                parts.append(f"{label}: {text}")
        return "; ".join(parts)

    @property
    def may_pass(self) -> bool:
        """Whether dialling again may help: nobody who had proved himself said it, or the peer is gone."""
        return not self.peer_proved or isinstance(self, PeerUnreachable)

    def to_dict(self) -> dict[str, str]:
        """The error as flat strings, for JSON output and for the wire."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "expected": self.expected,
            "seen": self.seen,
            "remedy": self.remedy,
        }


class UsageError(CoterieError):
    """The command line was given arguments that it does not know, or too few of them."""

    exit_code = 2


class ContractError(CoterieError):
    """The contract is not usable."""

    exit_code = 4


class ContractInvalid(ContractError):
    """The contract has unknown keys, impossible values or an inconsistent set of nodes."""


class ModelUnfit(ContractError):
    """A contract's own model does not fit together or is too large, or no contract can hold a model."""


class ContractMismatch(ContractError):
    """Two nodes hold contracts that differ."""


class ContractExpired(ContractError):
    """The contract has ended: its ``trust.not_after`` has passed."""


class SignatureRefused(ContractError):
    """A party's signature on the contract is missing or wrong."""


class DataError(CoterieError):
    """Raw or prepared data is not usable."""

    exit_code = 5


class RawDataInvalid(DataError):
    """Rows of the input do not fit the contract's columns, or the file is no text."""


class DataSetDamaged(DataError):
    """A file of a data set or its manifest is truncated, altered or missing."""


class SealBroken(DataError):
    """A sealed file was altered, cut or swapped, or its key is another one."""


class KeyFileRefused(DataError):
    """A file is no key of a sealed data set."""


class ModelDamaged(DataError):
    """The file of a trained model cannot be read, or was altered or cut."""


class StartRefused(DataError):
    """What a run is to go on from is missing, not what its contract names, or does not fit it."""


class ResultUnreadable(DataError):
    """A run's directory holds no result, or one of another version."""


class DataSetMismatch(DataError):
    """A data set was prepared under another contract's data section."""


class TrustError(CoterieError):
    """Somebody is not who or what the contract demands."""

    exit_code = 3


class EvidenceRefused(TrustError):
    """Evidence failed one named check.

    Args:
        failed_check: Stable name of the check, for example ``tcb_status``.
        what: One sentence: what was refused.
        expected: What the policy accepts.
        seen: What the evidence holds.
        remedy: What the reader can do now.
    """

    def __init__(
        self, failed_check: str, what: str, *, expected: str = "", seen: str = "", remedy: str = ""
    ) -> None:
        super().__init__(what, expected=expected, seen=seen, remedy=remedy)
        self.failed_check = failed_check

    def to_dict(self) -> dict[str, str]:
        """The error as flat strings, the name of the failed check among them."""
        return {**super().to_dict(), "failed_check": self.failed_check}

    def __str__(self) -> str:
        return f"[{self.failed_check}] {super().__str__()}"


class HandshakeFailed(TrustError):
    """The attested handshake broke off before both sides had accepted each other."""


class VoucherRefused(TrustError):
    """The party did not vouch for the node, or its voucher is not valid."""


class KeyRefused(TrustError):
    """A key server does not give a node what it asks for."""


class ManifestRefused(TrustError):
    """An enclave's manifest has a setting that is not known to be safe."""


class RollbackRefused(TrustError):
    """A parameter server goes on with another run, or an older checkpoint than it had announced."""


class ReceiptRefused(TrustError):
    """A receipt was altered, is not whole, or does not add up; the place is named."""

    def __init__(
        self, what: str, *, place: str = "", expected: str = "", seen: str = "", remedy: str = ""
    ) -> None:
        super().__init__(what, expected=expected, seen=seen, remedy=remedy)
        self.place = place

    def to_dict(self) -> dict[str, str]:
        """The error as flat strings, the place among them."""
        return {**super().to_dict(), "place": self.place}

    def __str__(self) -> str:
        return f"{self.place}: {super().__str__()}" if self.place else super().__str__()


class CallRefused(TrustError):
    """This peer may not call this method, or the time of its pinned certificate is up."""


class ProtocolError(CoterieError):
    """A peer sent something that the protocol forbids."""

    exit_code = 6


class MessageRefused(ProtocolError):
    """A message breaks a limit: size, shape, id or value."""


class StepRefused(ProtocolError):
    """A push lies outside of the step window, or comes from a stale incarnation."""


class RunError(CoterieError):
    """The run cannot start or go on."""

    exit_code = 7


class OutputInUse(RunError):
    """The output directory holds another run."""


class AddressInUse(RunError):
    """A listening address cannot be bound."""


class PeerUnreachable(RunError):
    """A node cannot be reached, or went away."""


class PeerBusy(PeerUnreachable):
    """A node takes no further call of this one before it has answered earlier ones."""


class JournalBroken(RunError):
    """A key server's log has a broken chain of digests, or cannot be written."""


class NodeMissing(RunError):
    """The run has ended: a node did not come, or stayed away for longer than the contract allows."""


class NodeFailed(RunError):
    """A node's process ended with an error."""


class CheckpointDamaged(RunError):
    """A checkpoint is torn, altered or of another run."""


class TrainingDiverged(RunError):
    """Losses or gradients grew out of all bounds: the contract's settings or the data do not fit."""


class EnvironmentUnfit(RunError):
    """This machine lacks something that the verb needs."""


_TREE: dict[str, type[CoterieError]] = {
    name: kind
    for name, kind in list(globals().items())
    if isinstance(kind, type) and issubclass(kind, CoterieError)
}


def error_from_dict(fields: Mapping[str, str]) -> CoterieError | None:
    """The error whose ``to_dict`` gave these fields; None where the tree has no such class.

    Fields may come from a peer: only classes of this module are made, and only from strings.
    """
    kind = _TREE.get(fields.get("error", ""))
    if kind is None:
        return None
    what, expected, seen, remedy = (
        fields.get(key, "") for key in ("what", "expected", "seen", "remedy")
    )
    if issubclass(kind, EvidenceRefused):
        check = fields.get("failed_check") or "unknown"
        return kind(check, what, expected=expected, seen=seen, remedy=remedy)
    return kind(what, expected=expected, seen=seen, remedy=remedy)
