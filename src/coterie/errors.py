"""Every error that Coterie raises on purpose, as one tree.

    CoterieError              1
    |-- UsageError            2
    |-- TrustError            3  EvidenceRefused, HandshakeFailed, VoucherRefused, KeyRefused, ...
    |-- ContractError         4  ContractInvalid, ContractMismatch, SignatureRefused, ...
    |-- DataError             5  RawDataInvalid, DataSetDamaged, SealBroken, ModelDamaged, ...
    |-- ProtocolError         6  MessageRefused, StepRefused
    `-- RunError              7  OutputInUse, PeerUnreachable, CheckpointDamaged, ...

The number is the process's exit code (0 is success, 1 an internal defect, 130 an interruption). Each error
says four things: what happened, what was expected, what was seen, and what to do about it.

A class whose errors mostly have one remedy states it once, as ``standing_remedy``. A module that raises one
error at several places states its constant parts once, with ``functools.partial``, and calls the result
with what was expected and what was seen::

    _refused = partial(MessageRefused, "the delivered part was refused")
    raise _refused(f"{expected} bytes", f"{seen} bytes")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Self

SAME_VERSION = "run the same version of Coterie under the same contract on all nodes"
_LONGEST_LIST = 500  # characters


def reason(error: Exception) -> str:
    """The error text of the system or of a library."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or " ".join(str(error).split())[:200] or type(error).__name__


class CoterieError(Exception):
    """Base class of all errors; the only one that the command line catches.

    Args:
        what: One sentence: what happened, naming the thing that it happened to.
        expected: What would have been right.
        seen: What was found instead.
        remedy: What the reader can do now; without it, what the class has as its standing remedy.

    Attributes:
        peer_proved: Whether an attested peer reported it, or it is about one. Any other error of a
            connection may be an attacker's work, so it is not a reason to give up.
    """

    exit_code: ClassVar[int] = 1
    standing_remedy: ClassVar[str] = ""
    peer_proved: bool = False

    def __init__(self, what: str, expected: str = "", seen: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.seen = seen
        self.remedy = remedy or self.standing_remedy

    # EvidenceRefused has none of the following: its first word is the check that failed.

    @classmethod
    def because_of(cls, error: CoterieError, what: str, remedy: str = "") -> Self:
        """Another sentence for an error: what was expected and seen, and the remedy, are that error's."""
        remedy = remedy or error.remedy
        return cls(what=what, expected=error.expected, seen=error.seen, remedy=remedy)

    @classmethod
    def unreadable(cls, what: str, error: Exception, expected: str, remedy: str = "") -> Self:
        """The error of a file that is not there, or that the system does not give."""
        what, remedy = f"{what} cannot be read", remedy or "check the path"
        return cls(what=what, expected=expected, seen=reason(error), remedy=remedy)

    @classmethod
    def too_large(cls, what: str, most: int, remedy: str) -> Self:
        """The error of a file of which no more than a limit is read, in bytes."""
        what, limit = f"{what} is too large", f"at most {most} bytes"
        return cls(what=what, expected=limit, seen="more", remedy=remedy)

    @classmethod
    def differs(cls, what: str, unit: str, expected: bytes, seen: bytes, remedy: str = "") -> Self:
        """The error of a digest that is another one than expected: both are shown, in hex."""
        wanted, found = (f"{unit} {digest.hex()[:128]}" for digest in (expected, seen))
        return cls(what=what, expected=wanted, seen=found, remedy=remedy)

    @classmethod
    def unknown(cls, what: str, name: str, known: Iterable[str], remedy: str = "") -> Self:
        """The error of a name that is not on a list: the list is what was expected."""
        names = f"one of {', '.join(known)}"[:_LONGEST_LIST]
        return cls(what=what, expected=names, seen=name[:100], remedy=remedy)

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
        """Whether connecting again may help: no attested peer reported it, or the peer is gone."""
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

    standing_remedy = (
        "give both the same signed contract: `coterie contract diff` tells what differs"
    )


class ContractExpired(ContractError):
    """The contract has ended: its ``trust.not_after`` has passed."""

    standing_remedy = (
        "agree on a new contract and let all parties sign it; or set this machine's clock"
    )


class SignatureRefused(ContractError):
    """A party's signature on the contract is missing or wrong."""

    standing_remedy = "let the party sign again"


class DataError(CoterieError):
    """Raw or prepared data is not usable."""

    exit_code = 5


class RawDataInvalid(DataError):
    """Rows of the input do not fit the contract's columns, or the file is no text."""


class DataSetDamaged(DataError):
    """A file of a data set or its manifest is truncated, altered or missing."""

    standing_remedy = "prepare the data set again: coterie prepare RAW OUT --contract C"


class SealBroken(DataError):
    """A sealed file was altered, cut or swapped, or its key is another one."""

    standing_remedy = "copy the sealed file again from where it was sealed"


class KeyFileRefused(DataError):
    """A file is no key of a sealed data set."""

    standing_remedy = (
        "check the path; without its key a sealed data set cannot be opened: seal it again"
    )


class ModelDamaged(DataError):
    """The file of a trained model cannot be read, or was altered or cut."""

    standing_remedy = "copy the file again from where the run wrote it"


class StartRefused(DataError):
    """What a run is to go on from is missing, not what its contract names, or does not fit it."""

    standing_remedy = "give the files that [start] names with --start DIR, or correct [start]"


class ResultUnreadable(DataError):
    """A run's directory holds no result, or one of another version."""


class DataSetMismatch(DataError):
    """A data set was prepared under another contract's data section."""

    standing_remedy = (
        "prepare the data set again: coterie prepare RAW OUT --contract C, or use the contract that it "
        "was prepared with"
    )

    @classmethod
    def other_section(cls, what: str, expected: bytes, seen: bytes) -> Self:
        """The error of data whose section has another digest than the contract's."""
        words = f"{what} was prepared under another contract's data section"
        return cls.differs(words, "data digest", expected, seen)


class TrustError(CoterieError):
    """A peer is not who or what the contract requires."""

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
        self, failed_check: str, what: str, expected: str = "", seen: str = "", remedy: str = ""
    ) -> None:
        super().__init__(what, expected, seen, remedy)
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

    standing_remedy = "render it again with coterie build gramine; change nothing by hand"


class RollbackRefused(TrustError):
    """A parameter server goes on with another run, or an older checkpoint than it had announced."""


class ReceiptRefused(TrustError):
    """A receipt was altered, is not whole, or does not add up; the place is named."""

    standing_remedy = (
        "do not trust this file: get the receipt from the parameter server's folder again"
    )

    def __init__(
        self, what: str, expected: str = "", seen: str = "", remedy: str = "", *, place: str = ""
    ) -> None:
        super().__init__(what, expected, seen, remedy)
        self.place = place

    @classmethod
    def because_of(
        cls, error: CoterieError, what: str, remedy: str = "", *, place: str = ""
    ) -> Self:
        """As for every error, with the place."""
        return cls(what, error.expected, error.seen, remedy or error.remedy, place=place)

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
    standing_remedy = SAME_VERSION


class MessageRefused(ProtocolError):
    """A message breaks a limit: size, shape, id or value."""


class StepRefused(ProtocolError):
    """A push lies outside of the step window, or comes from a stale incarnation."""

    standing_remedy = "join again: the reply names the open step"


class RunError(CoterieError):
    """The run cannot start or go on."""

    exit_code = 7


class OutputInUse(RunError):
    """The output directory holds another run."""

    standing_remedy = "name another path; nothing is overwritten"

    @classmethod
    def exists(cls, path: Path) -> Self:
        """The error of a path for something new at which something is already."""
        return cls(f"{path} exists", "a path where nothing is", "a file or folder")

    @classmethod
    def unwritable(cls, what: str, error: OSError, remedy: str = "") -> Self:
        """The error of a new file that cannot be made where it was to be."""
        expected = "a path where nothing is, in a writable folder with room"
        return cls(f"{what} cannot be written", expected, reason(error), remedy)


class AddressInUse(RunError):
    """A listening address cannot be bound."""


class PeerUnreachable(RunError):
    """A node cannot be reached, or went away."""

    standing_remedy = "look at that node's log; check that it runs, and its address"


class PeerBusy(PeerUnreachable):
    """A node takes no further call of this one before it has answered earlier ones."""


class JournalBroken(RunError):
    """A key server's log has a broken chain of digests, or cannot be written."""


class NodeMissing(RunError):
    """The run has ended: a node did not come, or stayed away for longer than the contract allows."""

    standing_remedy = "look at that node's log; start it again, or raise the limit in the contract"


class NodeFailed(RunError):
    """A node's process ended with an error."""


class CheckpointDamaged(RunError):
    """A checkpoint is torn, altered or of another run."""

    standing_remedy = "restore the folder from a copy, or start again in an empty output directory"


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
