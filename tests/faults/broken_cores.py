"""Cores that are broken by a change of one line: the simulator must find each."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from coterie.ps.checkpoints.common_checkpoints import CommonCheckpoints
from coterie.ps.core.barrier import StepBarrier
from coterie.ps.core.coordinator import Coordinator
from coterie.ps.core.leader import Leader
from coterie.ps.core.node_calls import NodeCalls
from coterie.ps.core.shard import ShardCore


@dataclass(frozen=True)
class BrokenCore:
    """A change of one line.

    Attributes:
        owner: The class whose method is changed.
        method: Its name.
        before: Text that occurs once in it.
        after: What stands there in the broken core.
        breaks: What the simulator says of it, a regular expression.
    """

    owner: type
    method: str
    before: str
    after: str
    breaks: str

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.method}"

    def is_named_by(self, what: str) -> bool:
        """Whether what the simulator says is what this core breaks."""
        return re.search(self.breaks, what) is not None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Has the class broken as long as the context is open."""
        sound = inspect.getattr_static(self.owner, self.method)
        source = textwrap.dedent(inspect.getsource(sound))
        assert source.count(self.before) == 1, "the code has changed: mend this table"
        namespace = dict(sound.__globals__)
        exec(
            compile(
                "from __future__ import annotations\n" + source.replace(self.before, self.after),
                f"<broken {self}>",
                "exec",
            ),
            namespace,
        )
        setattr(self.owner, self.method, namespace[self.method])
        try:
            yield
        finally:
            setattr(self.owner, self.method, sound)


BROKEN_CORES = (
    BrokenCore(
        Leader,
        "remainder_lost",
        "worker in barrier.staged or ",
        "",
        "another model",
    ),
    BrokenCore(
        NodeCalls,
        "join",
        "    if lost:\n",
        "    if False:\n",
        "another model",
    ),
    BrokenCore(
        StepBarrier,
        "admits",
        "return Offer.APPLIED",
        "return Offer.TAKEN",
        "applied a push of another step",
    ),
    BrokenCore(
        Leader,
        "_own_durable",
        "self._common.note(0, durable)",
        "[self._common.note(shard, durable) for shard in range(len(self._servers))]",
        "announces step 1, which ps1 does not hold",
    ),
    BrokenCore(
        ShardCore,
        "told",
        "return self.announced is not None and self.announced.step >= step",
        "return True",
        "hears of the last step before it is durable",
    ),
    BrokenCore(
        Leader,
        "go_back",
        "self._core.run = None",
        "pass",
        "of another run than shard 0|begins life .* another shard at",
    ),
    BrokenCore(
        CommonCheckpoints,
        "begin",
        "step = max(",
        "step = min(",
        "goes on from step .* was announced",
    ),
    BrokenCore(
        Coordinator,
        "_quorate",
        "self._workers - len(gone) >= quorum",
        "self._workers - len(gone) >= quorum - 1",
        "was applied without",
    ),
    BrokenCore(
        Leader,
        "advance",
        "grace_over = run.grace_over()",
        "grace_over = True",
        "went on without",
    ),
)
