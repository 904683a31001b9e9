"""The checkpoints that every shard holds; only these are announced and restored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from coterie.ps.checkpoints.records import DurableCheckpoint


class CommonCheckpoints:
    """The shards' reports of their durable checkpoints.

    Args:
        shards: Their number.
    """

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._held: dict[int, dict[int, bytes]] = {}

    def begin(self, held: Mapping[int, tuple[DurableCheckpoint, ...]]) -> DurableCheckpoint | None:
        """Begins a new incarnation at the newest checkpoint that all hold; None: at the beginning.

        Newer checkpoints belong to the lost incarnation.

        Args:
            held: Checkpoints of every shard.
        """
        steps = {shard: {c.step: c.digest for c in found} for shard, found in held.items()}
        step = max(set.intersection(*(set(found) for found in steps.values())), default=None)
        if step is None:
            self._held = {shard: {} for shard in steps}
            return None
        self._held = {shard: {step: found[step]} for shard, found in steps.items()}
        return self._together(step)

    def note(self, shard: int, found: DurableCheckpoint) -> None:
        """Records a checkpoint that a shard holds."""
        self._held.setdefault(shard, {})[found.step] = found.digest

    def newest(self, after: int) -> DurableCheckpoint | None:
        """The newest checkpoint that all shards hold; drops older ones.

        Args:
            after: None if it is not newer than this step.
        """
        if len(self._held) < self._shards:
            return None
        step = max(set.intersection(*(set(found) for found in self._held.values())), default=after)
        if step <= after:
            return None
        for found in self._held.values():
            for older in [s for s in found if s < step]:
                del found[older]
        return self._together(step)

    def _together(self, step: int) -> DurableCheckpoint:
        parts = [self._held[shard][step] for shard in range(self._shards)]
        digest = parts[0] if len(parts) == 1 else hashlib.sha256(b"".join(parts)).digest()
        return DurableCheckpoint(step, digest)
