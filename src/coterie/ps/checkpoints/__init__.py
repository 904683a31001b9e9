"""Checkpoints of a shard: incremental, written beside the training, verified before they count."""

from coterie.ps.checkpoints.records import Checkpoints, DurableCheckpoint, NoCheckpoints, RunRecord
from coterie.ps.checkpoints.store import CheckpointStore

__all__ = [
    "CheckpointStore",
    "Checkpoints",
    "DurableCheckpoint",
    "NoCheckpoints",
    "RunRecord",
]
