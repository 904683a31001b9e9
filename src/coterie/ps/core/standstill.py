"""Why a run stands still: nodes that it waits for, nodes that ended or pause, disk errors.

Steps that are trained while the disk cannot be written could not be kept. So the run pauses,
reports that repeatedly, and goes on when there is room, unless the contract's limits end it before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from coterie.errors import EnvironmentUnfit
from coterie.ps.core.presence import SILENT_SECONDS, Presence
from coterie.ps.farewell import farewell_from
from coterie.ps.wire import ps_pb2 as pb
from coterie.runs import events
from coterie.waiting import Patience

_LOOK_SECONDS = 1.0


class Standstill:
    """A shard's knowledge of what holds it up.

    Args:
        node: The shard's node.
        on_event: Receives its reports.
        now: Monotonic clock, in seconds.
        presence: Knows which nodes are silent.

    Attributes:
        reasons: Nodes' own reasons for ending or pausing, by name.
        disk_trouble: Why checkpoints cannot be written at present; None if they can.
        note_trouble: Why the last note could not be written; None if it was.
    """

    def __init__(
        self,
        node: str,
        on_event: events.EventSink,
        now: Callable[[], float],
        presence: Presence,
    ) -> None:
        self._node = node
        self._presence = presence
        self._on_event = on_event
        self._now = now
        self._patience = Patience()
        self.reasons: dict[str, str] = {}
        self.disk_trouble: EnvironmentUnfit | None = None
        self.note_trouble: EnvironmentUnfit | None = None

    @property
    def trouble(self) -> EnvironmentUnfit | None:
        """Why the disk cannot be written at present; None if it can."""
        return self.disk_trouble or self.note_trouble

    def hear(self, node: str, request: pb.TellRequest) -> None:
        """Records why a node ends or pauses."""
        error, reason = farewell_from(request)
        does = "pauses" if request.goes_on else "ended"
        said = f"{does}, {error}: {reason}" if reason else f"{does}, {error}"
        if self.reasons.get(node) != said:
            self.reasons[node] = said
            self._on_event(events.Ended(node, error, reason, request.goes_on))

    def forget(self, node: str) -> None:
        """Forgets a node's reason, since it goes on."""
        self.reasons.pop(node, None)

    def reason_of(self, names: Iterable[str]) -> str:
        """The known reasons why the run waits for these nodes."""
        trouble, known = self.trouble, self.reasons
        if trouble is not None:
            return f"{trouble.what}: {trouble.seen}; make room or mend the folder, and it goes on"
        said = []
        for name in names:
            silent = self._presence.silent_seconds(name)
            if name in known:
                said.append(f"{name} {known[name]}")
            elif silent >= SILENT_SECONDS:
                said.append(f"{name} was last heard of {silent:.0f} s ago")
        return "; ".join(said)

    def say(self, names: tuple[str, ...], since: float, seconds_left: float) -> float:
        """Reports the nodes that the run waits for, if it is time to.

        Args:
            names: The nodes.
            since: Time of the last progress.
            seconds_left: Seconds until the wait ends the run.

        Returns:
            Seconds until the next check.
        """
        now = self._now()
        if self._patience.due(now, since):
            self._on_event(
                events.Waiting(
                    self._node,
                    names if self.trouble is None else (f"the disk of {self._node}",),
                    round(now - since, 1),
                    round(max(0.0, seconds_left), 1),
                    self.reason_of(names),
                )
            )
        left = self._patience.seconds_left(now, since)
        return left if self.trouble is None else min(left, _LOOK_SECONDS)
