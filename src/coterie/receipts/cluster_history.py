"""Checks that the account of a TensorFlow cluster is consistent with its contract.

The program is the contract's, and begins only after every node that the writing one speaks with was
attested by the same process. A process's last entry says how it ended. If there is none, it was
killed or entries were cut off, which cannot be told apart: that is not refused but reported as a gap.
"""

from __future__ import annotations

from typing_extensions import override

from coterie.contract import Contract
from coterie.receipts import entry_types
from coterie.receipts.entries import Entry
from coterie.receipts.history import History


class ClusterHistory(History):
    """The history so far.

    Args:
        contract: The cluster's contract.

    Attributes:
        begun: The program that began, once it has.
        endings: How the processes ended that said so, in order.
        refused_calls: Refused calls in all of them; None where calls are not inspected.
    """

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        keeper = contract.receipt_keeper()
        self._peers = [node.name for node in contract.tensorflow_peers(keeper)]
        self._present: set[str] = set()  # attested since the process's start
        self._running = False  # whether the program has begun since then
        self._over = True  # whether the process has ended
        self._last: Entry | None = None
        self.begun: entry_types.ProgramBegun | None = None
        self.endings: list[entry_types.Ending] = []
        self.refused_calls: int | None = None

    @override
    def take(self, entry: Entry) -> None:
        match entry.body:
            case entry_types.Server(reason=reason) as server if reason != "renewal":
                if not self._over:
                    self._killed()
                self._over = self._running = False
                self._present.clear()
                self._started(entry, server)
            case _ if self._over:
                raise entry.refused(
                    "it comes after the process's last entry", "a restart", entry.body.kind
                )
            case entry_types.ProgramBegun() as begun:
                self._program_begun(entry, begun)
            case entry_types.ProgramEnded() as ended:
                self._program_ended(entry, ended)
            case entry_types.AttestedNode(node=node, incarnation=incarnation):
                if (node, incarnation) not in self._attested:
                    self.joins[node] = self.joins.get(node, 0) + 1
                super().take(entry)
                self._present.add(node)
            case entry_types.ServerFailed():
                super().take(entry)
                self._over = True
            case (
                entry_types.Server()
                | entry_types.Agreement()
                | entry_types.Signed()
                | entry_types.PeerRefused()
            ):
                super().take(entry)
            case _:
                raise entry.refused(
                    "a TensorFlow cluster's receipt has no such entry",
                    "no steps, checkpoints or outcome",
                    f"a {entry.body.kind}",
                )
        self._last = entry

    @override
    def close(self) -> None:
        assert self._last is not None
        if self.begun is None:
            raise self._last.refused("the program never began", "a program entry", "none")
        if not self._over:
            self._killed()

    def to_dict(self) -> dict[str, object]:
        """As JSON holds it, beside what all receipts tell."""
        assert self.begun is not None  # of an accepted receipt
        return {
            "program": self.begun.program,
            "wheel": self.begun.wheel,
            "endings": self.endings,
            "refused_calls": self.refused_calls,
        }

    def _program_begun(self, entry: Entry, begun: entry_types.ProgramBegun) -> None:
        if self._running:
            raise entry.refused("the program begins twice", "an ended entry before it")
        agreed = self._contract.tensorflow
        assert agreed is not None
        entry.check_same("it is another program than the contract's", agreed.program, begun.program)
        what = "it is another TensorFlow than the contract's"
        entry.check_same(what, agreed.wheel, begun.wheel)
        missing = [peer for peer in self._peers if peer not in self._present]
        if missing:
            what = f"the program begins, and {', '.join(missing)[:200]} had not proved itself"
            raise entry.refused(what, "an attested entry of each since the process's start")
        self._running = True
        self.begun = begun

    def _program_ended(self, entry: Entry, ended: entry_types.ProgramEnded) -> None:
        if not self._running and ended.how != "stopped":
            raise entry.refused(
                "the program ends without having begun", "a program entry before it"
            )
        inspected = self._contract.mode == "hfl"
        if inspected != (ended.refused_calls is not None):
            raise entry.refused(
                "it tells of refused calls where none are inspected, or the other way round",
                "their number in mode hfl only",
                str(ended.refused_calls),
            )
        self._over = True
        self.endings.append(ended.how)
        if ended.refused_calls is not None:
            self.refused_calls = (self.refused_calls or 0) + ended.refused_calls
        self._count_only(ended.not_kept)

    def _killed(self) -> None:
        assert self._last is not None
        self.gaps.append(
            f"after line {self._last.line} the server's process does not say how it ended: it was killed, or entries "
            "were cut off"
        )
