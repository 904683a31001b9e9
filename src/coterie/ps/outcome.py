"""What a finished run amounts to on the server."""

from __future__ import annotations

from dataclasses import dataclass

from coterie.ps.evaluation import SplitCounts


@dataclass(frozen=True)
class RunOutcome:
    """A finished run.

    Attributes:
        steps: Updates applied.
        examples: Examples trained, all epochs.
        seconds: From the last join to the last update; after a restart, of this process alone.
        train_loss: Mean loss over the last epoch.
        totals: Released evaluation counts.
        model_digest: Digest of the model; 32 bytes.
    """

    steps: int
    examples: int
    seconds: float
    train_loss: float
    totals: tuple[SplitCounts, ...]
    model_digest: bytes
